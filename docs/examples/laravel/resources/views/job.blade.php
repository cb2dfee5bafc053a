<!doctype html>
<title>{{ $job['woodshed']['suffix'] }}</title>
<h1>{{ $job['woodshed']['suffix'] ?: $job['id'] }}</h1>
<p id="status">{{ $job['status'] }}</p>
@if ($job['error'])
    <p>{{ $job['error']['message'] }}</p>
@endif
<p><progress id="progress" value="0" max="1"></progress> <span id="step"></span></p>
<a id="adapter" href="{{ route('jobs.adapter', $job['id']) }}" @if ($job['status'] !== 'succeeded') hidden @endif>Download the adapter</a>
<script>
    // EventSource comes back by itself after the last event it got.
    const source = new EventSource(@json(route('jobs.live', $job['id'])));
    const shown = (id) => document.getElementById(id);
    source.addEventListener("run.progressed.v1", (message) => {
        const { step, total_steps, loss } = JSON.parse(message.data);
        Object.assign(shown("progress"), { value: step, max: total_steps });
        shown("step").textContent = `step ${step} of ${total_steps}, loss ${loss.toFixed(2)}`;
    });
    for (const end of ["succeeded", "failed", "cancelled"]) {
        source.addEventListener(`job.${end}.v1`, () => {
            source.close();
            shown("status").textContent = end;
            shown("adapter").hidden = end !== "succeeded";
        });
    }
</script>
