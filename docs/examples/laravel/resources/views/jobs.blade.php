<!doctype html>
<title>Train a model</title>
<h1>Train a model</h1>
<form method="post" action="{{ route('jobs.store') }}" enctype="multipart/form-data">
    @csrf
    <p><label>Conversations (JSON lines) <input type="file" name="file" accept=".jsonl" required></label></p>
    <p><label>Name <input name="suffix" value="coach" maxlength="64" required></label></p>
    <button>Start</button>
</form>
<h2>Jobs</h2>
<ul>
    @foreach ($jobs as $job)
        <li><a href="{{ route('jobs.show', $job['id']) }}">{{ $job['woodshed']['suffix'] ?: $job['id'] }}</a>: {{ $job['status'] }}</li>
    @endforeach
</ul>
