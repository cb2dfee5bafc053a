// A job's whole life through the client for TypeScript: what it saw, as JSON on standard output.
import { createHash } from "node:crypto";
import { openAsBlob } from "node:fs";
import { every, Woodshed, WoodshedError, type ChatWish, type Job, type JobWish } from "./woodshed.js";

const { WOODSHED_URL, WOODSHED_KEY, TRAINING_FILE } = process.env as Record<string, string>;
const woodshed = new Woodshed(WOODSHED_URL, WOODSHED_KEY);

async function all<T>(entries: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const entry of entries) found.push(entry);
  return found;
}

async function refusal(asking: Promise<unknown>) {
  const error = await asking.then(() => undefined, (error) => error);
  if (!(error instanceof WoodshedError)) throw error;
  return { status: error.status, param: error.param, code: error.code, message: error.message !== "" };
}

const file = await woodshed.createFile({ purpose: "fine-tune", file: new File([await openAsBlob(TRAINING_FILE)], "chats.jsonl") });
const refused = await refusal(woodshed.createFineTuningJob({ model: "gpt-4o-mini", training_file: file.id }));
const unauthorised = await refusal(new Woodshed(WOODSHED_URL, "wsk-wrong").listModels());

const once = woodshed.with({ "Idempotency-Key": "one-job" });
const wish: JobWish = {
  model: "SmolLM2-135M-Instruct",
  training_file: file.id,
  suffix: "coach",
  seed: 7,
  metadata: { team: "money" },
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2 } } },
  preset: "balanced",
  priority: "high",
};
const submitted = await once.createFineTuningJob(wish);
const repeated = await once.createFineTuningJob(wish);

const live: string[] = [];
for await (const message of woodshed.streamFineTuningJob(submitted.id)) {
  live.push(message.event);
  if (message.event === "evaluation.report_ready.v1") break;
}
let job: Job = await woodshed.retrieveFineTuningJob(submitted.id);
while (job.woodshed.stage !== "done") {
  await new Promise((waited) => setTimeout(waited, 100));
  job = await woodshed.retrieveFineTuningJob(job.id);
}

const model = job.fine_tuned_model!;
const adapter = await woodshed.downloadFineTuningJobArtifact(job.id, "adapter_model.safetensors");
const talk: ChatWish = { model, messages: [{ role: "user", content: "What first?" }] };
console.log(
  JSON.stringify({
    file,
    refused,
    unauthorised,
    submitted,
    listed: [repeated.id],
    live,
    job,
    events: await all(every((after) => woodshed.listFineTuningEvents(job.id, { after, limit: 2 }))),
    checkpoints: await all(every((after) => woodshed.listFineTuningJobCheckpoints(job.id, { after, limit: 1 }))),
    figures: await (await woodshed.downloadFile(job.result_files[0])).text(),
    adapter: createHash("sha256").update(Buffer.from(await adapter.arrayBuffer())).digest("hex"),
    reply: await woodshed.createChatCompletion(talk),
    model: await woodshed.retrieveModel(model),
    deleted: [await woodshed.deleteModel(model), await woodshed.deleteFile(file.id)],
    missing: [await refusal(woodshed.retrieveModel(model)), await refusal(woodshed.retrieveFile(file.id))],
  }),
);
