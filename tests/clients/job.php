<?php
// A job's whole life from PHP, asked the way openai-php asks (Guzzle; JSON, multipart, lines of a stream read byte by
// byte) and read as strictly as it reads. What was seen goes as JSON to standard output.
declare(strict_types=1);

use GuzzleHttp\Client;
use GuzzleHttp\Exception\BadResponseException;
use GuzzleHttp\Psr7\MultipartStream;
use GuzzleHttp\Psr7\Request;
use Psr\Http\Message\ResponseInterface;

require 'GuzzleHttp/autoload.php';
require getenv('RECEIVER');

set_error_handler(fn ($severity, $message) => throw new ErrorException($message));  // A missing key is an error.

const KEYS_OF_A_JOB = [
    'id', 'object', 'model', 'created_at', 'finished_at', 'fine_tuned_model', 'organization_id', 'result_files', 'status',
    'validation_file', 'training_file', 'trained_tokens',
];

function send(string $method, string $path, array $parameters = [], bool $upload = false, string $key = ''): ResponseInterface
{
    $headers = ['Authorization' => 'Bearer ' . ($key ?: getenv('WOODSHED_KEY')), 'Content-Type' => 'application/json'];
    $uri = getenv('WOODSHED_URL') . '/v1/' . $path;
    $body = null;
    if ($upload) {
        $named = fn ($name) => ['name' => $name, 'contents' => $parameters[$name]];
        $body = new MultipartStream(array_map($named, array_keys($parameters)));
        $headers['Content-Type'] = 'multipart/form-data; boundary=' . $body->getBoundary();
    } elseif ($method === 'POST') {
        $body = json_encode($parameters, JSON_THROW_ON_ERROR);
    } elseif ($parameters) {
        $uri .= '?' . http_build_query($parameters);
    }
    $stream = (bool) ($parameters['stream'] ?? false);
    return (new Client())->send(new Request($method, $uri, $headers, $body), ['stream' => $stream]);
}

function ask(string $method, string $path, array $parameters = [], bool $upload = false, string $key = ''): array
{
    $answer = (string) send($method, $path, $parameters, $upload, $key)->getBody();
    return json_decode($answer, true, flags: JSON_THROW_ON_ERROR);
}

function all(string $path, array $query): array
{
    $found = [];
    do {
        $page = ask('GET', $path, $query);
        array_push($found, ...$page['data']);
        $query['after'] = end($page['data'])['id'] ?? null;
    } while ($page['has_more']);
    return $found;
}

function refusal(callable $asking): array
{
    try {
        $asking();
    } catch (BadResponseException $error) {
        $said = json_decode((string) $error->getResponse()->getBody(), true)['error'];
        return ['status' => $error->getCode(), 'message' => $said['message'] !== ''] + $said;
    }
    throw new LogicException('This should have been refused.');
}

function job(string $method, string $path, array $parameters = []): array
{
    $job = ask($method, $path, $parameters);
    array_map(fn ($key) => $job[$key], KEYS_OF_A_JOB);
    array_map(fn ($key) => $job['hyperparameters'][$key], ['n_epochs', 'batch_size', 'learning_rate_multiplier']);
    return $job;
}

function chunks(ResponseInterface $response): Generator
{
    $body = $response->getBody();
    while (!$body->eof()) {
        for ($line = ''; !$body->eof() && !str_ends_with($line, "\n");) {
            $line .= $body->read(1);
        }
        if (!str_starts_with($line, 'data:')) {
            continue;
        }
        $data = trim(substr($line, strlen('data:')));
        if ($data === '[DONE]') {
            return;
        }
        yield json_decode($data, true, flags: JSON_THROW_ON_ERROR);
    }
}

function called($server): array
{
    $caller = stream_socket_accept($server, 60);
    for ($head = ''; !str_ends_with($head, "\r\n\r\n");) {
        $head .= fread($caller, 1);
    }
    preg_match_all('/^([^:\s]+): (.*)\r$/m', $head, $lines);
    $headers = array_combine(array_map('strtolower', $lines[1]), $lines[2]);
    $body = stream_get_contents($caller, (int) $headers['content-length']);
    fwrite($caller, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    fclose($caller);
    return [$body, $headers];
}

$server = stream_socket_server('tcp://127.0.0.1:0');
$endpoint = ask('POST', 'webhook_endpoints', [
    'name' => 'a program in PHP',
    'url' => 'http://' . stream_socket_get_name($server, false) . '/',
    'event_types' => ['fine_tuning.job.succeeded'],
]);

$file = ask('POST', 'files', ['purpose' => 'fine-tune', 'file' => fopen(getenv('TRAINING_FILE'), 'r')], upload: true);
$seen['file'] = $file;
$wish = ['model' => 'gpt-4o-mini', 'training_file' => $file['id']];
$seen['refused'] = refusal(fn () => ask('POST', 'fine_tuning/jobs', $wish));
$seen['unauthorised'] = refusal(fn () => ask('GET', 'models', key: 'wsk-wrong'));

$job = job('POST', 'fine_tuning/jobs', [
    'model' => 'SmolLM2-135M-Instruct',
    'suffix' => 'coach',
    'seed' => 7,
    'metadata' => ['team' => 'money'],
    'method' => ['type' => 'supervised', 'supervised' => ['hyperparameters' => ['n_epochs' => 2]]],
    'preset' => 'balanced',
    'priority' => 'high',
] + $wish);
$seen['submitted'] = $job;
$mine = all('fine_tuning/jobs', ['limit' => 1, 'metadata' => ['team' => 'money']]);
$seen['listed'] = array_column($mine, 'id');

$path = "fine_tuning/jobs/{$job['id']}";
while ($job['woodshed']['stage'] !== 'done') {
    usleep(100_000);
    $job = job('GET', $path);
}
$seen['job'] = $job;
$seen['events'] = all("$path/events", ['limit' => 2]);
$seen['checkpoints'] = all("$path/checkpoints", ['limit' => 1]);
$seen['figures'] = (string) send('GET', "files/{$job['result_files'][0]}/content")->getBody();

[$body, $headers] = called($server);
$secret = $endpoint['signing_secret'];
$seen['called'] = verified($body, $headers, $secret) ? json_decode($body, true) : 'refused';
$seen['forged'] = !verified(str_replace('ftjob-', 'ftjob-x', $body), $headers, $secret);

$talk = ['model' => $job['fine_tuned_model'], 'messages' => [['role' => 'user', 'content' => 'What first?']]];
$seen['reply'] = ask('POST', 'chat/completions', $talk);
$streamed = send('POST', 'chat/completions', ['stream' => true, 'stream_options' => ['include_usage' => true]] + $talk);
$chunks = iterator_to_array(chunks($streamed), false);
$seen['streamed'] = implode(array_map(fn ($chunk) => $chunk['choices'][0]['delta']['content'] ?? '', $chunks));
$seen['usage'] = end($chunks)['usage'];

$seen['model'] = ask('GET', "models/{$job['fine_tuned_model']}");
$seen['deleted'] = [ask('DELETE', "models/{$job['fine_tuned_model']}"), ask('DELETE', "files/{$file['id']}")];
$seen['missing'] = [
    refusal(fn () => ask('GET', "models/{$job['fine_tuned_model']}")),
    refusal(fn () => ask('GET', "files/{$file['id']}")),
];
echo json_encode($seen);
