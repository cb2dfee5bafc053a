"use client";
// Follows a job in the browser. EventSource comes back by itself after the last event it got.
import { useEffect, useState } from "react";

const ENDS = { "job.succeeded.v1": "succeeded", "job.failed.v1": "failed", "job.cancelled.v1": "cancelled" };

interface Step {
  step: number;
  total_steps: number;
  loss: number;
  eta_seconds: number;
}

export function Live({ id, status }: { id: string; status: string }) {
  const [step, setStep] = useState<Step>();
  const [now, setNow] = useState(status);

  useEffect(() => {
    const source = new EventSource(`/jobs/${id}/live`);
    source.addEventListener("run.progressed.v1", (message) => setStep(JSON.parse(message.data)));
    for (const [event, end] of Object.entries(ENDS)) {
      source.addEventListener(event, () => {
        setNow(end);
        source.close();
      });
    }
    return () => source.close();
  }, [id]);

  return (
    <>
      <p>{now}</p>
      {step && (
        <p>
          <progress value={step.step} max={step.total_steps} /> step {step.step} of {step.total_steps}, loss{" "}
          {step.loss.toFixed(2)}, {Math.ceil(step.eta_seconds / 60)} min to go
        </p>
      )}
      {now === "succeeded" && <a href={`/jobs/${id}/adapter`}>Download the adapter</a>}
    </>
  );
}
