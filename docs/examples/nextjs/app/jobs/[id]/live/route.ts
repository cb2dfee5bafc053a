// Hands a job's live events on to the browser, which has no key.
import { woodshed } from "../../../../lib/woodshed";

export async function GET(request: Request, { params }: { params: Promise<{ id: string }> }) {
  const lastEventId = request.headers.get("Last-Event-ID") ?? undefined;
  const messages = woodshed.streamFineTuningJob((await params).id, { lastEventId, signal: request.signal });
  const stream = new ReadableStream<string>({
    async pull(controller) {
      const { done, value } = await messages.next();
      if (done) return controller.close();
      const { id, event, data } = value;
      controller.enqueue(`${id ? `id: ${id}\n` : ""}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    },
    async cancel() {
      await messages.return(undefined);
    },
  });
  const headers = { "Content-Type": "text/event-stream", "Cache-Control": "no-store" };
  return new Response(stream.pipeThrough(new TextEncoderStream()), { headers });
}
