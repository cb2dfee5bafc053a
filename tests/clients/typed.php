<?php
// A job's whole life through the client for PHP: what it saw, as JSON on standard output.
declare(strict_types=1);

use Woodshed\Woodshed;
use Woodshed\WoodshedError;

require 'GuzzleHttp/autoload.php';
require getenv('WOODSHED_CLIENT');

set_error_handler(fn ($severity, $message) => throw new ErrorException($message));

function refusal(callable $asking): array
{
    try {
        $asking();
    } catch (WoodshedError $said) {
        $message = $said->getMessage() !== '';
        return ['status' => $said->status, 'param' => $said->param, 'code' => $said->error, 'message' => $message];
    }
    throw new LogicException('This should have been refused.');
}

$woodshed = new Woodshed(getenv('WOODSHED_URL'), getenv('WOODSHED_KEY'));
$file = $woodshed->createFile(['purpose' => 'fine-tune', 'file' => fopen(getenv('TRAINING_FILE'), 'r')]);
$wish = ['model' => 'gpt-4o-mini', 'training_file' => $file['id'], 'metadata' => []];
$refused = refusal(fn () => $woodshed->createFineTuningJob($wish));
$unauthorised = refusal(fn () => (new Woodshed(getenv('WOODSHED_URL'), 'wsk-wrong'))->listModels());

$once = $woodshed->with(['Idempotency-Key' => 'one-job']);
$wish = [
    'model' => 'SmolLM2-135M-Instruct',
    'suffix' => 'coach',
    'seed' => 7,
    'metadata' => ['team' => 'money'],
    'method' => ['type' => 'supervised', 'supervised' => ['hyperparameters' => ['n_epochs' => 2]]],
    'preset' => 'balanced',
    'priority' => 'high',
] + $wish;
$submitted = $once->createFineTuningJob($wish);
$repeated = $once->createFineTuningJob($wish);

foreach ($woodshed->streamFineTuningJob($submitted['id']) as $message) {
    $live[] = $message['event'];
    if ($message['event'] === 'evaluation.report_ready.v1') {
        break;
    }
}
while (($job = $woodshed->retrieveFineTuningJob($submitted['id']))['woodshed']['stage'] !== 'done') {
    usleep(100_000);
}

$id = $job['id'];
$model = $job['fine_tuned_model'];
$events = Woodshed::every(fn ($after) => $woodshed->listFineTuningEvents($id, ['after' => $after, 'limit' => 2]));
$saved = Woodshed::every(fn ($after) => $woodshed->listFineTuningJobCheckpoints($id, ['after' => $after, 'limit' => 1]));
$hash = hash_init('sha256');
for ($adapter = $woodshed->downloadFineTuningJobArtifact($id, 'adapter_model.safetensors'); !$adapter->eof();) {
    hash_update($hash, $adapter->read(65536));
}
echo json_encode([
    'file' => $file,
    'refused' => $refused,
    'unauthorised' => $unauthorised,
    'submitted' => $submitted,
    'listed' => [$repeated['id']],
    'live' => $live,
    'job' => $job,
    'events' => iterator_to_array($events, false),
    'checkpoints' => iterator_to_array($saved, false),
    'figures' => (string) $woodshed->downloadFile($job['result_files'][0]),
    'adapter' => hash_final($hash),
    'reply' => $woodshed->createChatCompletion([
        'model' => $model,
        'messages' => [['role' => 'user', 'content' => 'What first?']],
    ]),
    'model' => $woodshed->retrieveModel($model),
    'deleted' => [$woodshed->deleteModel($model), $woodshed->deleteFile($file['id'])],
    'missing' => [refusal(fn () => $woodshed->retrieveModel($model)), refusal(fn () => $woodshed->retrieveFile($file['id']))],
]);
