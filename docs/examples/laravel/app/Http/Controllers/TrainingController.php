<?php

namespace App\Http\Controllers;

use Illuminate\Contracts\View\View;
use Illuminate\Http\RedirectResponse;
use Illuminate\Http\Request;
use Symfony\Component\HttpFoundation\StreamedResponse;
use Woodshed\Woodshed;

/** Starts a job, shows it live, hands out its adapter. */
final class TrainingController
{
    private const ENDS = ['job.succeeded.v1', 'job.failed.v1', 'job.cancelled.v1'];
    private const ADAPTER = 'adapter_model.safetensors';

    public function __construct(private readonly Woodshed $woodshed)
    {
    }

    public function index(): View
    {
        return view('jobs', ['jobs' => $this->woodshed->listPaginatedFineTuningJobs(['limit' => 10])['data']]);
    }

    public function store(Request $request): RedirectResponse
    {
        $asked = $request->validate(['file' => 'required|file', 'suffix' => 'required|string|max:64']);
        $upload = $asked['file'];
        $file = $this->woodshed->createFile([
            'purpose' => 'fine-tune',
            'file' => ['contents' => fopen($upload->path(), 'r'), 'filename' => $upload->getClientOriginalName()],
        ]);
        $job = $this->woodshed->createFineTuningJob([
            'model' => 'SmolLM2-135M-Instruct',
            'training_file' => $file['id'],
            'suffix' => $asked['suffix'],
        ]);
        return redirect()->route('jobs.show', $job['id']);
    }

    public function show(string $job): View
    {
        return view('job', ['job' => $this->woodshed->retrieveFineTuningJob($job)]);
    }

    /** Hands live events on to the browser, which has no key, until the job has ended. */
    public function live(Request $request, string $job): StreamedResponse
    {
        $messages = $this->woodshed->streamFineTuningJob($job, lastEventId: $request->header('Last-Event-ID'));
        return response()->stream(function () use ($messages) {
            foreach ($messages as $message) {
                echo $message['id'] === null ? '' : "id: {$message['id']}\n";
                echo "event: {$message['event']}\ndata: ", json_encode($message['data']), "\n\n";
                if (ob_get_level() > 0) {
                    ob_flush();
                }
                flush();
                if (in_array($message['event'], self::ENDS, true)) {
                    return;
                }
            }
        }, 200, ['Content-Type' => 'text/event-stream', 'Cache-Control' => 'no-store', 'X-Accel-Buffering' => 'no']);
    }

    /** The adapter, streamed through: it is never whole in PHP's memory. */
    public function adapter(string $job): StreamedResponse
    {
        $file = $this->woodshed->downloadFineTuningJobArtifact($job, self::ADAPTER);
        return response()->streamDownload(function () use ($file) {
            while (! $file->eof()) {
                echo $file->read(65536);
            }
        }, self::ADAPTER, ['Content-Type' => 'application/octet-stream']);
    }
}
