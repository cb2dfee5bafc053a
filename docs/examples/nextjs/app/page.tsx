// Upload conversations, start a job, and go to its page.
import { redirect } from "next/navigation";
import { woodshed } from "../lib/woodshed";

export const dynamic = "force-dynamic";

async function start(form: FormData) {
  "use server";
  const file = await woodshed.createFile({ purpose: "fine-tune", file: form.get("file") as File });
  const wish = { model: "SmolLM2-135M-Instruct", training_file: file.id, suffix: String(form.get("suffix")) };
  const job = await woodshed.createFineTuningJob(wish);
  redirect(`/jobs/${job.id}`);
}

export default async function Page() {
  const jobs = await woodshed.listPaginatedFineTuningJobs({ limit: 10 });
  return (
    <main>
      <h1>Train a model</h1>
      <form action={start}>
        <p><label>Conversations (JSON lines) <input type="file" name="file" accept=".jsonl" required /></label></p>
        <p><label>Name <input name="suffix" defaultValue="coach" maxLength={64} required /></label></p>
        <button>Start</button>
      </form>
      <h2>Jobs</h2>
      <ul>
        {jobs.data.map((job) => (
          <li key={job.id}><a href={`/jobs/${job.id}`}>{job.woodshed.suffix || job.id}</a>: {job.status}</li>
        ))}
      </ul>
    </main>
  );
}
