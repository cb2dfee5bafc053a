// One job: what is known when the page is asked for, then what happens, live.
import { woodshed } from "../../../lib/woodshed";
import { Live } from "./live";

export const dynamic = "force-dynamic";

export default async function Page({ params }: { params: Promise<{ id: string }> }) {
  const job = await woodshed.retrieveFineTuningJob((await params).id);
  return (
    <main>
      <h1>{job.woodshed.suffix || job.id}</h1>
      <Live id={job.id} status={job.status} />
      {job.error && <p>{job.error.message}</p>}
    </main>
  );
}
