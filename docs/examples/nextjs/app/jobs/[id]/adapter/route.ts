// The adapter as a download, streamed through: it is never whole in this process's memory.
import { woodshed } from "../../../../lib/woodshed";

export async function GET(_: Request, { params }: { params: Promise<{ id: string }> }) {
  const file = await woodshed.downloadFineTuningJobArtifact((await params).id, "adapter_model.safetensors");
  const headers = new Headers({ "Content-Disposition": 'attachment; filename="adapter_model.safetensors"' });
  const size = file.headers.get("Content-Length");
  if (size) headers.set("Content-Length", size);
  return new Response(file.body, { headers });
}
