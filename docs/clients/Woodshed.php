<?php
// Written by `make docs` from the API's own OpenAPI description; change docs/clients/Woodshed.template.php instead.

declare(strict_types=1);

namespace Woodshed;

use Generator;
use GuzzleHttp\Client;
use GuzzleHttp\ClientInterface;
use Psr\Http\Message\ResponseInterface;
use Psr\Http\Message\StreamInterface;
use RuntimeException;

/** What the API refused: `error` for programs, the message for people, `param` names the field that is at fault. */
final class WoodshedError extends RuntimeException
{
    public function __construct(
        string $message,
        public readonly int $status,
        public readonly string $error,
        public readonly ?string $param,
        /** Seconds after which the same call may work. */
        public readonly ?int $retryAfter,
    ) {
        parent::__construct($message, $status);
    }
}

/**
 * A client of Woodshed in one file on Guzzle: copy it into your project. One method for each operation of the API, named
 * like it there; objects are arrays, downloads are streams.
 *
 *     $woodshed = new Woodshed('http://127.0.0.1:8080', 'wsk-…');
 *     $job = $woodshed->retrieveFineTuningJob('ftjob-…');
 *
 * @phpstan-type LiveEvent array{id: ?string, event: string, data: array<string, mixed>}
 * @phpstan-type Acceptance array{invitation: string, password: string, name?: string|null}
 * @phpstan-type AddUploadPartForm array{data: resource|StreamInterface|array{contents: resource|string|StreamInterface, filename: string}}
 * @phpstan-type ApiKey array{id: string, name: string, shown: string, member: string, role: 'owner'|'engineer'|'analyst'|'staff', scopes: list<string>|null, permissions: list<string>, created_at: int, expires_at: int|null, last_used_at: int|null, revoked_at: int|null, made_by: string|null, rotated_to: string|null, object: 'api_key'}
 * @phpstan-type ApiKeyPage array{data: list<ApiKey>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type Artifact array{name: string, size: int, sha256: string, url: string, object: 'artifact'}
 * @phpstan-type ArtifactPage array{data: list<Artifact>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type AskWish array{prompt: string, max_tokens?: int}
 * @phpstan-type AuditEntry array{number: int, at: string, actor: string, via: string, action: string, about: string, details: array<string, mixed>, origin: string, request_id: string, previous: string, hash: string, object: 'audit.entry'}
 * @phpstan-type AuditEntryPage array{data: list<AuditEntry>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type Budget array{monthly: float|null, time_zone: string, month: string, spent: float|null, held: float|null, left: float|null, used_up: bool, object: 'budget'}
 * @phpstan-type BudgetWish array{monthly: float, time_zone?: string}
 * @phpstan-type Change array{field: string, old: float|string|null, new: float|string|null, why: string}
 * @phpstan-type ChatWish array{model: string, messages: list<WishedTurn>, stream?: bool|null, stream_options?: WishedStream|null, max_tokens?: int|null, max_completion_tokens?: int|null, temperature?: float|null, top_p?: float|null, stop?: string|list<string>|null, seed?: int|null, logprobs?: bool|null, top_logprobs?: int|null, tools?: array<mixed>|null, tool_choice?: 'none'|'auto'|null, parallel_tool_calls?: true|false|null, functions?: array<mixed>|null, function_call?: 'none'|'auto'|null, response_format?: array<mixed>|null, modalities?: array<mixed>|null, audio?: null, prediction?: null, moderation?: null, web_search_options?: null, logit_bias?: array<mixed>|null, presence_penalty?: 0|null, frequency_penalty?: 0|null, reasoning_effort?: 'none'|null, verbosity?: 'medium'|null, n?: 1|null, store?: false|null, service_tier?: 'auto'|'default'|null, user?: mixed, metadata?: mixed, safety_identifier?: mixed, prompt_cache_key?: mixed, prompt_cache_retention?: mixed, prompt_cache_options?: mixed}
 * @phpstan-type Checkpoint array{id: string, created_at: int, fine_tuned_model_checkpoint: string, step_number: int, metrics: CheckpointMetrics, fine_tuning_job_id: string, object: 'fine_tuning.job.checkpoint'}
 * @phpstan-type CheckpointMetrics array{step: int, train_loss?: float, train_mean_token_accuracy?: float, valid_loss?: float, valid_mean_token_accuracy?: float, full_valid_loss?: float, full_valid_mean_token_accuracy?: float}
 * @phpstan-type CheckpointPage array{data: list<Checkpoint>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type CheckpointPermission array{id: string, created_at: int, project_id: string, object: 'checkpoint.permission'}
 * @phpstan-type CheckpointPermissionPage array{data: list<CheckpointPermission>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type Choice array{message: Message, finish_reason: string, logprobs: Logprobs|null, index: int}
 * @phpstan-type Completion array{id: string, created: int, model: string, choices: list<Choice>, usage: Usage, system_fingerprint: string, service_tier: 'default', object: 'chat.completion'}
 * @phpstan-type CompletionDetails array{reasoning_tokens: int, audio_tokens: int, accepted_prediction_tokens: int, rejected_prediction_tokens: int}
 * @phpstan-type CompletionWish array{part_ids: list<string>, md5?: string|null}
 * @phpstan-type CreateFileForm array{purpose: 'assistants'|'batch'|'fine-tune'|'vision'|'user_data'|'evals', file: resource|StreamInterface|array{contents: resource|string|StreamInterface, filename: string}, expires_after?: array{anchor: 'created_at', seconds: int}}
 * @phpstan-type CredentialWish array{name: string, expires_in?: float|null}
 * @phpstan-type Curve array{points: list<CurvePoint>, object: 'fine_tuning.job.curve'}
 * @phpstan-type CurvePoint array{step: int, train_loss: float, train_loss_min: float, train_loss_max: float, learning_rate: float, grad_norm: float, valid_loss: float|null}
 * @phpstan-type Dataset array{id: string, created_at: int, file: string, filename: string, model: string, format: string, split: array<string, mixed>, state: string, validation_file: string|null, finished_at: int|null, figures: array<string, mixed>|null, problems: list<array<string, mixed>>, problem_count: int, progress: array<string, mixed>|null, error: JobError|null, object: 'dataset'}
 * @phpstan-type DatasetPage array{data: list<Dataset>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type DatasetPreview array{examples: list<PreviewedExample>, type: 'dataset.preview_answer.v1'}
 * @phpstan-type DatasetWish array{file: string, base_model?: string|null, format?: string, split?: WishedSplit|null, validation_file?: string|null, max_length?: int}
 * @phpstan-type DeletedFile array{id: string, object: 'file', deleted: bool}
 * @phpstan-type DeletedModel array{id: string, object: 'model', deleted: bool}
 * @phpstan-type DeletedPermission array{id: string, object: 'checkpoint.permission', deleted: bool}
 * @phpstan-type DeletedRecipient array{id: string, deleted: bool, object: 'notice_recipient.deleted'}
 * @phpstan-type DeletedWebhookEndpoint array{id: string, deleted: bool, object: 'webhook_endpoint.deleted'}
 * @phpstan-type Device array{device_id: string, runner: string, kind: string, precision: string, threads: int, memory_bytes: int, free_bytes: int, online: bool, leaving: bool, shared: bool, jobs: list<string>, others: int, heard_ago: float|null, pool: string}
 * @phpstan-type DownloadLink array{id: string, url: string, created_at: int, expires_at: int, status: string, file: string|null, job: string|null, artifact: string|null, report: string|null, sha256: string, made_by: string, downloads: int, last_used_at: int|null, object: 'download_link'}
 * @phpstan-type DownloadLinkPage array{data: list<DownloadLink>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type Dpo array{hyperparameters: PairingHyperparameters}
 * @phpstan-type Ended array{ended: list<string>, object: 'sessions.ended'}
 * @phpstan-type Estimate array{seconds: float, seconds_low: float, seconds_high: float, cost: float, currency: string, memory_bytes: int, steps: int, tokens: int, notes: list<string>}
 * @phpstan-type EstimateWish array{dataset: string, model?: string|null, preset?: 'conservative'|'quick'|'balanced'|'standard'|'aggressive'|'deep', hyperparameters?: WishedHyperparameters|null, rank?: int|null, learning_rate?: float|null, time_limit?: float|null, budget?: float|null, max_length?: int|null, training?: 'full'|'lora'|null, quantization?: 'nf4'|'none'|null, method?: WishedMethod|null}
 * @phpstan-type EventCredential array{id: string, name: string, member: string, made_by: string, created_at: int, expires_at: int|null, connected_at: int|null, revoked_at: int|null, object: 'event_credential'}
 * @phpstan-type EventCredentialPage array{data: list<EventCredential>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type EventTypeList array{data: list<string>, object: 'list'}
 * @phpstan-type ExpiryWish array{anchor: 'created_at', seconds: int}
 * @phpstan-type File array{id: string, bytes: int, created_at: int, filename: string, purpose: 'assistants'|'assistants_output'|'batch'|'batch_output'|'evals'|'fine-tune'|'fine-tune-results'|'user_data'|'vision', sha256: string, expires_at?: int, object: 'file', status: 'processed'|'error', status_details: string|null}
 * @phpstan-type FilePage array{data: list<File>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type Fix array{kind: string, title: string, sentence: string, settings: array<string, mixed>|null}
 * @phpstan-type Hyperparameters array{n_epochs: int|'auto', batch_size: int|'auto', learning_rate_multiplier: float|'auto'}
 * @phpstan-type Integration array{wandb: Wandb, type: 'wandb'}
 * @phpstan-type Invitation array{invitation: string|null, member: string, expires_at: int, object: 'invitation'}
 * @phpstan-type InvitationWish array{send?: bool}
 * @phpstan-type Job array{id: string, created_at: int, finished_at: int|null, model: string, fine_tuned_model: string|null, organization_id: string, result_files: list<string>, status: 'validating_files'|'queued'|'running'|'pausing'|'paused'|'succeeded'|'failed'|'cancelled', training_file: string, validation_file: string|null, trained_tokens: int|null, hyperparameters: Hyperparameters, error: JobError|null, seed: int, estimated_finish: int|null, method: Method, metadata: array<string, string>, woodshed: JobDetails, integrations: list<Integration>, object: 'fine_tuning.job'}
 * @phpstan-type JobDetails array{preset: string, priority: string, stage: string, dataset: string, suffix: string, run: string|null, recipe: array<string, mixed>|null, estimate: array<string, mixed>|null, progress: Progress|null, seconds: float|null, cost: float|null, budget: float|null, interruptions: int, lost_steps: int, lost_seconds: float, headline: string|null, verdict: string|null, report: 'running'|'ready'|'failed'|null, fix: Fix|null, retry_of: string|null, retried_as: string|null}
 * @phpstan-type JobError array{code: string, message: string, param: string}
 * @phpstan-type JobEstimated array{recipe: Recipe, estimate: Estimate, type: 'job.estimate_answer.v1'}
 * @phpstan-type JobEvent array{id: string, created_at: int, level: 'info'|'warn'|'error', message: string, type: 'message'|'metrics', data: array<string, float>, object: 'fine_tuning.job.event'}
 * @phpstan-type JobEventPage array{data: list<JobEvent>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type JobPage array{data: list<Job>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type JobWish array{model: string, training_file: string, validation_file?: string|null, hyperparameters?: WishedHyperparameters|null, method?: WishedMethod|null, suffix?: string|null, seed?: int|null, metadata?: array<string, string>|null, integrations?: list<WishedIntegration>|null, preset?: 'conservative'|'quick'|'balanced'|'standard'|'aggressive'|'deep', priority?: 'high'|'low'|'medium', dataset?: string|null, rank?: int|null, learning_rate?: float|null, time_limit?: float|null, budget?: float|null, max_length?: int|null, training?: 'full'|'lora'|null, quantization?: 'nf4'|'none'|null}
 * @phpstan-type KeyWish array{name: string, scopes?: list<'self'|'files.read'|'files.write'|'datasets.read'|'datasets.write'|'jobs.read'|'jobs.write'|'models.read'|'models.download'|'models.write'|'models.use'|'keys.own'|'keys.all'|'members.read'|'members.write'|'webhooks.read'|'webhooks.write'|'notices.read'|'notices.write'|'events.read'|'events.write'|'budgets.read'|'budgets.write'|'machines.read'|'audit.read'>|null, expires_in?: float|null, member?: string|null}
 * @phpstan-type LinkWish array{file?: string|null, job?: string|null, artifact?: string|null, report?: 'html'|'json'|'pdf'|null, expires_in?: int}
 * @phpstan-type Logprobs array{content: list<TokenLogprob>, refusal: null}
 * @phpstan-type MachineList array{data: list<Device>, coming: int, object: 'list'}
 * @phpstan-type Me array{organisation: string, member: string, role: 'owner'|'engineer'|'analyst'|'staff', permissions: list<string>, via: string, csrf_token: string|null, object: 'me'}
 * @phpstan-type Member array{id: string, name: string, email: string|null, role: 'owner'|'engineer'|'analyst'|'staff', permissions: list<string>, created_at: int, signs_in: bool, invitation_mail: string|null, object: 'member'}
 * @phpstan-type MemberChange array{name?: string, email?: string, role?: 'analyst'|'engineer'|'owner'|'staff'}
 * @phpstan-type MemberPage array{data: list<Member>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type MemberWish array{name: string, email?: string|null, role: 'analyst'|'engineer'|'owner'|'staff'}
 * @phpstan-type Message array{content: string, role: 'assistant', refusal: null, annotations: list<string>}
 * @phpstan-type Method array{type: 'supervised'|'dpo', supervised?: Supervised, dpo?: Dpo}
 * @phpstan-type Metric array{step: int, epoch: float, train_loss: float, learning_rate: float, grad_norm: float, tokens: int, tokens_per_second: float, memory_bytes: int, train_mean_token_accuracy: float|null, valid_loss: float|null, valid_mean_token_accuracy: float|null, reward_margin: float|null, reward_accuracy: float|null}
 * @phpstan-type MetricPage array{data: list<Metric>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type Model array{id: string, created: int, owned_by: string, object: 'model', shutdown_date: string|null, job: string|null, base_model: string|null}
 * @phpstan-type ModelPage array{data: list<Model>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type ModelReplied array{base: string, tuned: string, type: 'model.reply.v1'}
 * @phpstan-type NewApiKey array{key: string, api_key: ApiKey, object: 'new_api_key'}
 * @phpstan-type NewEventCredential array{servers: string, user: string, password: string, inbox_prefix: string, subject: string, missed: string, credential: EventCredential}
 * @phpstan-type NoticeRecipient array{id: string, name: string, email: string|null, slack: bool, slack_address: string|null, choices: array<string, array<string, string>>, time_zone: string, quiet_hours: QuietHours|null, digest_at: string, created_at: int, updated_at: int, object: 'notice_recipient'}
 * @phpstan-type NoticeRecipientPage array{data: list<NoticeRecipient>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type PairingHyperparameters array{n_epochs: int|'auto', batch_size: int|'auto', learning_rate_multiplier: float|'auto', beta: float|'auto'}
 * @phpstan-type PasswordWish array{password: string, current?: string|null}
 * @phpstan-type PermissionWish array{project_ids: list<string>}
 * @phpstan-type Piece array{text: string, trained: bool}
 * @phpstan-type PreviewedExample array{example_id: string, tokens: int, trained_tokens: int, pieces: list<Piece>, rejected: list<Piece>}
 * @phpstan-type Progress array{step: int, total_steps: int, epoch: float, loss: float, learning_rate: float, grad_norm: float, tokens: int, tokens_per_second: float, samples_per_second: float, eta_seconds: float, memory_bytes: int, cost: float, token_accuracy: float|null, eval_loss: float|null, eval_token_accuracy: float|null, reward_margin: float|null, reward_accuracy: float|null}
 * @phpstan-type PromptDetails array{cached_tokens: int, audio_tokens: int}
 * @phpstan-type QuietHours array{begin: string, end: string}
 * @phpstan-type Recipe array{base_model: string, method: string, rank: int, alpha: int, dropout: float, learning_rate: float, epochs: int, batch_size: int, max_length: int, warmup_ratio: float, max_grad_norm: float, seed: int, max_steps: int, time_limit: float, objective: string, beta: float, quantization: string}
 * @phpstan-type RecipientWish array{name: string, email?: string|null, slack?: bool, slack_address?: string|null, choices?: array<string, array<string, string>>, time_zone?: string, quiet_hours?: WishedQuiet|null, digest_at?: string}
 * @phpstan-type RemovedMember array{id: string, object: 'member', deleted: bool}
 * @phpstan-type Retry array{job: string, possible: bool, changes: list<Change>, hindrance: string|null, fix: Fix|null, retried_as: string|null, object: 'fine_tuning.job.retry'}
 * @phpstan-type RetryWish array{training_file?: string|null, hyperparameters?: WishedHyperparameters|null, rank?: int|null, learning_rate?: float|null, time_limit?: float|null, budget?: float|null, max_length?: int|null, as_it_was?: bool, force?: bool}
 * @phpstan-type RotateWish array{overlap?: float, expires_in?: float|null}
 * @phpstan-type RotationWish array{keep_old_secret_active_for_24_hours?: bool}
 * @phpstan-type Session array{id: string, origin: string, program: string, created_at: int, expires_at: int, current: bool, object: 'session'}
 * @phpstan-type SessionPage array{data: list<Session>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type SignIn array{email: string, password: string, organisation?: string|null}
 * @phpstan-type Supervised array{hyperparameters: Hyperparameters}
 * @phpstan-type TokenLogprob array{token: string, logprob: float, bytes: list<int>, top_logprobs: list<TopLogprob>}
 * @phpstan-type TopLogprob array{token: string, logprob: float, bytes: list<int>}
 * @phpstan-type TrialWish array{event_type: 'fine_tuning.job.succeeded'|'fine_tuning.job.failed'|'fine_tuning.job.cancelled'|'woodshed.job.remarked'|'woodshed.report.ready'|'woodshed.report.failed'}
 * @phpstan-type Upload array{id: string, bytes: int, created_at: int, expires_at: int, filename: string, purpose: 'assistants'|'assistants_output'|'batch'|'batch_output'|'evals'|'fine-tune'|'fine-tune-results'|'user_data'|'vision', status: 'pending'|'completed'|'cancelled'|'expired', file: File|null, object: 'upload'}
 * @phpstan-type UploadPart array{id: string, created_at: int, upload_id: string, object: 'upload.part'}
 * @phpstan-type UploadWish array{filename: string, purpose: 'assistants'|'batch'|'evals'|'fine-tune'|'user_data'|'vision', bytes: int, mime_type: string, expires_after?: ExpiryWish|null}
 * @phpstan-type Usage array{prompt_tokens: int, completion_tokens: int, total_tokens: int, prompt_tokens_details: PromptDetails, completion_tokens_details: CompletionDetails}
 * @phpstan-type Verification array{holds: bool, entries: int, head: string, broken_at: int|null, why: string|null, object: 'audit.verification'}
 * @phpstan-type Wandb array{project: string, name: string|null, entity: string|null, tags: list<string>}
 * @phpstan-type WandbKey array{api_key: string|null, available: bool, object: 'wandb_key'}
 * @phpstan-type WandbKeyWish array{api_key: string}
 * @phpstan-type WebhookAttempt array{at: int, status_code: int|null, milliseconds: int, error: string|null}
 * @phpstan-type WebhookChange array{name?: string, url?: string, event_types?: list<'fine_tuning.job.succeeded'|'fine_tuning.job.failed'|'fine_tuning.job.cancelled'|'woodshed.job.remarked'|'woodshed.report.ready'|'woodshed.report.failed'>, laravel_signature?: bool, enabled?: bool}
 * @phpstan-type WebhookDelivery array{id: string, event_id: string, event_type: string, job: string, status: string, created_at: int, next_try_at: int|null, attempts: list<WebhookAttempt>, object: 'webhook_endpoint.delivery'}
 * @phpstan-type WebhookDeliveryPage array{data: list<WebhookDelivery>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type WebhookEndpoint array{id: string, name: string, url: string, event_types: list<string>, created_at: int, updated_at: int, signing_secret_hint: string, woodshed: WebhookExtras, object: 'webhook_endpoint', signing_secret?: string}
 * @phpstan-type WebhookEndpointPage array{data: list<WebhookEndpoint>, has_more: bool, object: 'list', first_id: string|null, last_id: string|null}
 * @phpstan-type WebhookExtras array{enabled: bool, disabled_reason: string|null, laravel_signature: bool, old_secret_until: int|null}
 * @phpstan-type WebhookTestResult array{webhook_endpoint_id: string, event_type: string, status_code: int, success: true, object: 'webhook_endpoint.test'}
 * @phpstan-type WebhookWish array{name: string, url: string, event_types: list<'fine_tuning.job.succeeded'|'fine_tuning.job.failed'|'fine_tuning.job.cancelled'|'woodshed.job.remarked'|'woodshed.report.ready'|'woodshed.report.failed'>, laravel_signature?: bool}
 * @phpstan-type WishedDpo array{hyperparameters?: WishedPairing|null}
 * @phpstan-type WishedHyperparameters array{n_epochs?: int|'auto'|null, batch_size?: int|'auto'|null, learning_rate_multiplier?: float|'auto'|null}
 * @phpstan-type WishedIntegration array{type: string, wandb?: WishedWandb|null}
 * @phpstan-type WishedMethod array{type: 'supervised'|'dpo', supervised?: WishedSupervised|null, dpo?: WishedDpo|null, reinforcement?: array<string, mixed>|null}
 * @phpstan-type WishedPairing array{n_epochs?: int|'auto'|null, batch_size?: int|'auto'|null, learning_rate_multiplier?: float|'auto'|null, beta?: float|'auto'|null}
 * @phpstan-type WishedQuiet array{begin: string, end: string}
 * @phpstan-type WishedSplit array{by?: 'conversation'|'speaker', near_duplicates?: 'drop'|'keep', validation?: float, test?: float, seed?: int}
 * @phpstan-type WishedStream array{include_usage?: bool|null, include_obfuscation?: bool|null}
 * @phpstan-type WishedSupervised array{hyperparameters?: WishedHyperparameters|null}
 * @phpstan-type WishedTurn array{role: 'system'|'developer'|'user'|'assistant', content: string|list<array{type: 'text', text: string}>, name?: ''|null, refusal?: mixed, tool_calls?: array<mixed>|null, tool_call_id?: null, function_call?: null, audio?: null, annotations?: mixed}
 * @phpstan-type WishedWandb array{project: string, name?: string|null, entity?: string|null, tags?: list<string>|null}
 */
final class Woodshed
{
    /** Keys that hold an object: an empty array is sent as `{}` there, and as `[]` elsewhere. */
    private const OBJECTS = [
        'api_key',
        'completion_tokens_details',
        'credential',
        'details',
        'dpo',
        'error',
        'estimate',
        'expires_after',
        'figures',
        'file',
        'fix',
        'hyperparameters',
        'logprobs',
        'message',
        'metadata',
        'method',
        'metrics',
        'progress',
        'prompt_tokens_details',
        'quiet_hours',
        'recipe',
        'reinforcement',
        'settings',
        'split',
        'stream_options',
        'supervised',
        'usage',
        'wandb',
        'woodshed',
    ];

    /** @param array<string, string> $headers */
    public function __construct(
        private readonly string $url,
        private readonly string $key,
        private readonly array $headers = [],
        private readonly ClientInterface $http = new Client(),
    ) {
    }

    /**
     * The same client with headers on top, such as an `Idempotency-Key` for one call.
     *
     * @param array<string, string> $headers
     */
    public function with(array $headers): self
    {
        return new self($this->url, $this->key, $headers + $this->headers, $this->http);
    }

    /**
     * Every entry of a list, page by page: `Woodshed::every(fn ($after) => $woodshed->listFiles(['after' => $after]))`.
     *
     * @param callable(?string): array{data: list<array<string, mixed>>, has_more: bool} $ask
     * @return Generator<int, array<string, mixed>>
     */
    public static function every(callable $ask): Generator
    {
        $after = null;
        do {
            $page = $ask($after);
            foreach ($page['data'] as $entry) {
                yield $entry;
                $after = $entry['id'];
            }
        } while ($page['has_more']);
    }

    /**
     * List files.
     *
     * @param array{purpose?: string|null, after?: string|null, limit?: int, order?: 'asc'|'desc'} $query
     * @return FilePage
     */
    public function listFiles(array $query = []): array
    {
        return $this->json('GET', '/v1/files', query: $query);
    }

    /**
     * Upload a file.
     *
     * @param CreateFileForm $body
     * @return File
     */
    public function createFile(array $body): array
    {
        return $this->json('POST', '/v1/files', form: $body);
    }

    /**
     * Describe a file.
     *
     * @return File
     */
    public function retrieveFile(string $file_id): array
    {
        return $this->json('GET', '/v1/files/' . rawurlencode($file_id));
    }

    /**
     * Delete a file.
     *
     * @return DeletedFile
     */
    public function deleteFile(string $file_id): array
    {
        return $this->json('DELETE', '/v1/files/' . rawurlencode($file_id));
    }

    /**
     * Download a file.
     *
     * @return StreamInterface
     */
    public function downloadFile(string $file_id): StreamInterface
    {
        return $this->bytes('GET', '/v1/files/' . rawurlencode($file_id) . '/content');
    }

    /**
     * Announce an upload in parts.
     *
     * @param UploadWish $body
     * @return Upload
     */
    public function createUpload(array $body): array
    {
        return $this->json('POST', '/v1/uploads', body: $body);
    }

    /**
     * Make a file of the parts.
     *
     * @param CompletionWish $body
     * @return Upload
     */
    public function completeUpload(string $upload_id, array $body): array
    {
        return $this->json('POST', '/v1/uploads/' . rawurlencode($upload_id) . '/complete', body: $body);
    }

    /**
     * Throw an upload away.
     *
     * @return Upload
     */
    public function cancelUpload(string $upload_id): array
    {
        return $this->json('POST', '/v1/uploads/' . rawurlencode($upload_id) . '/cancel');
    }

    /**
     * Send a part.
     *
     * @param AddUploadPartForm $body
     * @return UploadPart
     */
    public function addUploadPart(string $upload_id, array $body): array
    {
        return $this->json('POST', '/v1/uploads/' . rawurlencode($upload_id) . '/parts', form: $body);
    }

    /**
     * List datasets.
     *
     * @param array{after?: string|null, limit?: int} $query
     * @return DatasetPage
     */
    public function listDatasets(array $query = []): array
    {
        return $this->json('GET', '/v1/datasets', query: $query);
    }

    /**
     * Ask for a dataset.
     *
     * @param DatasetWish $body
     * @return Dataset
     */
    public function createDataset(array $body): array
    {
        return $this->json('POST', '/v1/datasets', body: $body);
    }

    /**
     * Describe a dataset.
     *
     * @return Dataset
     */
    public function retrieveDataset(string $dataset): array
    {
        return $this->json('GET', '/v1/datasets/' . rawurlencode($dataset));
    }

    /**
     * Show examples as the model sees them.
     *
     * @param array{count?: int} $query
     * @return DatasetPreview
     */
    public function previewDataset(string $dataset, array $query = []): array
    {
        return $this->json('GET', '/v1/datasets/' . rawurlencode($dataset) . '/preview', query: $query);
    }

    /**
     * List jobs.
     *
     * @param array{after?: string|null, limit?: int, metadata?: array<string, string>|null} $query
     * @return JobPage
     */
    public function listPaginatedFineTuningJobs(array $query = []): array
    {
        return $this->json('GET', '/v1/fine_tuning/jobs', query: $query);
    }

    /**
     * Submit a job.
     *
     * @param JobWish $body
     * @return Job
     */
    public function createFineTuningJob(array $body): array
    {
        return $this->json('POST', '/v1/fine_tuning/jobs', body: $body);
    }

    /**
     * Describe a job.
     *
     * @return Job
     */
    public function retrieveFineTuningJob(string $job): array
    {
        return $this->json('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job));
    }

    /**
     * Cancel a job.
     *
     * @return Job
     */
    public function cancelFineTuningJob(string $job): array
    {
        return $this->json('POST', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/cancel');
    }

    /**
     * Pause a job.
     *
     * @return Job
     */
    public function pauseFineTuningJob(string $job): array
    {
        return $this->json('POST', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/pause');
    }

    /**
     * Resume a job.
     *
     * @return Job
     */
    public function resumeFineTuningJob(string $job): array
    {
        return $this->json('POST', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/resume');
    }

    /**
     * A job's story.
     *
     * @param array{after?: string|null, limit?: int} $query
     * @return JobEventPage
     */
    public function listFineTuningEvents(string $job, array $query = []): array
    {
        return $this->json('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/events', query: $query);
    }

    /**
     * A job's checkpoints.
     *
     * @param array{after?: string|null, limit?: int} $query
     * @return CheckpointPage
     */
    public function listFineTuningJobCheckpoints(string $job, array $query = []): array
    {
        return $this->json('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/checkpoints', query: $query);
    }

    /**
     * Who may use a checkpoint.
     *
     * @param array{project_id?: string|null, after?: string|null, limit?: int, order?: 'ascending'|'descending'} $query
     * @return CheckpointPermissionPage
     */
    public function listFineTuningCheckpointPermissions(string $checkpoint, array $query = []): array
    {
        return $this->json('GET', '/v1/fine_tuning/checkpoints/' . rawurlencode($checkpoint) . '/permissions', query: $query);
    }

    /**
     * Let projects use a checkpoint.
     *
     * @param PermissionWish $body
     * @return CheckpointPermissionPage
     */
    public function createFineTuningCheckpointPermission(string $checkpoint, array $body): array
    {
        return $this->json('POST', '/v1/fine_tuning/checkpoints/' . rawurlencode($checkpoint) . '/permissions', body: $body);
    }

    /**
     * Take a permission back.
     *
     * @return DeletedPermission
     */
    public function deleteFineTuningCheckpointPermission(string $checkpoint, string $permission): array
    {
        return $this->json('DELETE', '/v1/fine_tuning/checkpoints/' . rawurlencode($checkpoint) . '/permissions/' . rawurlencode($permission));
    }

    /**
     * A job's log.
     *
     * @return StreamInterface
     */
    public function downloadFineTuningJobLog(string $job): StreamInterface
    {
        return $this->bytes('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/log');
    }

    /**
     * What a retry would change.
     *
     * @param array{training_file?: string|null, n_epochs?: int|null, learning_rate?: float|null, rank?: int|null, max_length?: int|null, time_limit?: float|null, as_it_was?: bool} $query
     * @return Retry
     */
    public function previewFineTuningJobRetry(string $job, array $query = []): array
    {
        return $this->json('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/retry', query: $query);
    }

    /**
     * Try a failed job again, with its fix.
     *
     * @param RetryWish $body
     * @return Job
     */
    public function retryFineTuningJob(string $job, array $body = []): array
    {
        return $this->json('POST', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/retry', body: $body);
    }

    /**
     * A job's figures by step.
     *
     * @param array{format?: 'json'|'csv'} $query
     * @return MetricPage
     */
    public function listFineTuningJobMetrics(string $job, array $query = []): array
    {
        return $this->json('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/metrics', query: $query);
    }

    /**
     * A job's figures for drawing.
     *
     * @return Curve
     */
    public function retrieveFineTuningJobCurve(string $job): array
    {
        return $this->json('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/curve');
    }

    /**
     * The files training made.
     *
     * @return ArtifactPage
     */
    public function listFineTuningJobArtifacts(string $job): array
    {
        return $this->json('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/artifacts');
    }

    /**
     * Download one of them.
     *
     * @return StreamInterface
     */
    public function downloadFineTuningJobArtifact(string $job, string $name): StreamInterface
    {
        return $this->bytes('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/artifacts/' . rawurlencode($name));
    }

    /**
     * The model with all it takes to run it.
     *
     * @return StreamInterface
     */
    public function downloadFineTuningJobDeployment(string $job): StreamInterface
    {
        return $this->bytes('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/deployment.zip');
    }

    /**
     * The proof as figures.
     *
     * @return array<string, mixed>
     */
    public function retrieveFineTuningJobReport(string $job): array
    {
        return $this->json('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/report');
    }

    /**
     * The proof to print.
     *
     * @return StreamInterface
     */
    public function downloadFineTuningJobReportPdf(string $job): StreamInterface
    {
        return $this->bytes('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/report.pdf');
    }

    /**
     * The proof to read.
     *
     * @return StreamInterface
     */
    public function downloadFineTuningJobReportHtml(string $job): StreamInterface
    {
        return $this->bytes('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/report.html');
    }

    /**
     * One reply of base and tuned model.
     *
     * @param AskWish $body
     * @return ModelReplied
     */
    public function askFineTunedModel(string $job, array $body): array
    {
        return $this->json('POST', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/ask', body: $body);
    }

    /**
     * What a job would take.
     *
     * @param EstimateWish $body
     * @return JobEstimated
     */
    public function createEstimate(array $body): array
    {
        return $this->json('POST', '/v1/estimates', body: $body);
    }

    /**
     * List what trains.
     *
     * @return MachineList
     */
    public function listMachines(): array
    {
        return $this->json('GET', '/v1/machines');
    }

    /**
     * List models.
     *
     * @return ModelPage
     */
    public function listModels(): array
    {
        return $this->json('GET', '/v1/models');
    }

    /**
     * Describe a model.
     *
     * @return Model
     */
    public function retrieveModel(string $model): array
    {
        return $this->json('GET', '/v1/models/' . rawurlencode($model));
    }

    /**
     * Delete a trained model.
     *
     * @return DeletedModel
     */
    public function deleteModel(string $model): array
    {
        return $this->json('DELETE', '/v1/models/' . rawurlencode($model));
    }

    /**
     * List who is told.
     *
     * @param array{after?: string|null, limit?: int} $query
     * @return NoticeRecipientPage
     */
    public function listNoticeRecipients(array $query = []): array
    {
        return $this->json('GET', '/v1/notice_recipients', query: $query);
    }

    /**
     * Name somebody.
     *
     * @param RecipientWish $body
     * @return NoticeRecipient
     */
    public function createNoticeRecipient(array $body): array
    {
        return $this->json('POST', '/v1/notice_recipients', body: $body);
    }

    /**
     * Describe one.
     *
     * @return NoticeRecipient
     */
    public function retrieveNoticeRecipient(string $recipient): array
    {
        return $this->json('GET', '/v1/notice_recipients/' . rawurlencode($recipient));
    }

    /**
     * Change how somebody is told.
     *
     * @param RecipientWish $body
     * @return NoticeRecipient
     */
    public function updateNoticeRecipient(string $recipient, array $body): array
    {
        return $this->json('POST', '/v1/notice_recipients/' . rawurlencode($recipient), body: $body);
    }

    /**
     * Tell somebody nothing more.
     *
     * @return DeletedRecipient
     */
    public function deleteNoticeRecipient(string $recipient): array
    {
        return $this->json('DELETE', '/v1/notice_recipients/' . rawurlencode($recipient));
    }

    /**
     * List links.
     *
     * @param array{after?: string|null, limit?: int} $query
     * @return DownloadLinkPage
     */
    public function listDownloadLinks(array $query = []): array
    {
        return $this->json('GET', '/v1/download_links', query: $query);
    }

    /**
     * Make a link.
     *
     * @param LinkWish $body
     * @return DownloadLink
     */
    public function createDownloadLink(array $body): array
    {
        return $this->json('POST', '/v1/download_links', body: $body);
    }

    /**
     * Describe a link.
     *
     * @return DownloadLink
     */
    public function retrieveDownloadLink(string $link): array
    {
        return $this->json('GET', '/v1/download_links/' . rawurlencode($link));
    }

    /**
     * Revoke a link.
     *
     * @return DownloadLink
     */
    public function revokeDownloadLink(string $link): array
    {
        return $this->json('DELETE', '/v1/download_links/' . rawurlencode($link));
    }

    /**
     * Download by a link.
     *
     * @param array{expires: int, signature: string} $query
     * @return StreamInterface
     */
    public function downloadByLink(string $link, array $query): StreamInterface
    {
        return $this->bytes('GET', '/v1/downloads/' . rawurlencode($link), query: $query);
    }

    /**
     * List endpoints.
     *
     * @param array{after?: string|null, limit?: int} $query
     * @return WebhookEndpointPage
     */
    public function listWebhookEndpoints(array $query = []): array
    {
        return $this->json('GET', '/v1/webhook_endpoints', query: $query);
    }

    /**
     * Make an endpoint.
     *
     * @param WebhookWish $body
     * @return WebhookEndpoint
     */
    public function createWebhookEndpoint(array $body): array
    {
        return $this->json('POST', '/v1/webhook_endpoints', body: $body);
    }

    /**
     * Describe an endpoint.
     *
     * @return WebhookEndpoint
     */
    public function retrieveWebhookEndpoint(string $webhook): array
    {
        return $this->json('GET', '/v1/webhook_endpoints/' . rawurlencode($webhook));
    }

    /**
     * Change an endpoint.
     *
     * @param WebhookChange $body
     * @return WebhookEndpoint
     */
    public function updateWebhookEndpoint(string $webhook, array $body): array
    {
        return $this->json('POST', '/v1/webhook_endpoints/' . rawurlencode($webhook), body: $body);
    }

    /**
     * Remove an endpoint.
     *
     * @return DeletedWebhookEndpoint
     */
    public function deleteWebhookEndpoint(string $webhook): array
    {
        return $this->json('DELETE', '/v1/webhook_endpoints/' . rawurlencode($webhook));
    }

    /**
     * Give an endpoint a new secret.
     *
     * @param RotationWish $body
     * @return WebhookEndpoint
     */
    public function rotateWebhookEndpointSecret(string $webhook, array $body = []): array
    {
        return $this->json('POST', '/v1/webhook_endpoints/' . rawurlencode($webhook) . '/rotate_secret', body: $body);
    }

    /**
     * Send a sample now.
     *
     * @param TrialWish $body
     * @return WebhookTestResult
     */
    public function testWebhookEndpoint(string $webhook, array $body): array
    {
        return $this->json('POST', '/v1/webhook_endpoints/' . rawurlencode($webhook) . '/test', body: $body);
    }

    /**
     * What was sent there.
     *
     * @param array{after?: string|null, limit?: int} $query
     * @return WebhookDeliveryPage
     */
    public function listWebhookEndpointDeliveries(string $webhook, array $query = []): array
    {
        return $this->json('GET', '/v1/webhook_endpoints/' . rawurlencode($webhook) . '/deliveries', query: $query);
    }

    /**
     * Send an event again.
     *
     * @return WebhookDelivery
     */
    public function replayWebhookEndpointDelivery(string $webhook, string $delivery): array
    {
        return $this->json('POST', '/v1/webhook_endpoints/' . rawurlencode($webhook) . '/deliveries/' . rawurlencode($delivery) . '/replay');
    }

    /**
     * What an endpoint can be called for.
     *
     * @return EventTypeList
     */
    public function listWebhookEventTypes(): array
    {
        return $this->json('GET', '/v1/webhook_event_types');
    }

    /**
     * Continue a conversation.
     *
     * @param ChatWish $body
     * @return Completion
     */
    public function createChatCompletion(array $body): array
    {
        return $this->json('POST', '/v1/chat/completions', body: $body);
    }

    /**
     * Everything, live.
     *
     * @return Generator<int, LiveEvent>
     */
    public function streamEvents(?string $lastEventId = null): Generator
    {
        return $this->events('GET', '/v1/stream', lastEventId: $lastEventId);
    }

    /**
     * One job, live.
     *
     * @return Generator<int, LiveEvent>
     */
    public function streamFineTuningJob(string $job, ?string $lastEventId = null): Generator
    {
        return $this->events('GET', '/v1/fine_tuning/jobs/' . rawurlencode($job) . '/stream', lastEventId: $lastEventId);
    }

    /**
     * List event credentials.
     *
     * @param array{after?: string|null, limit?: int} $query
     * @return EventCredentialPage
     */
    public function listEventCredentials(array $query = []): array
    {
        return $this->json('GET', '/v1/event_credentials', query: $query);
    }

    /**
     * Make event credentials.
     *
     * @param CredentialWish $body
     * @return NewEventCredential
     */
    public function createEventCredential(array $body): array
    {
        return $this->json('POST', '/v1/event_credentials', body: $body);
    }

    /**
     * Describe event credentials.
     *
     * @return EventCredential
     */
    public function retrieveEventCredential(string $credential): array
    {
        return $this->json('GET', '/v1/event_credentials/' . rawurlencode($credential));
    }

    /**
     * Revoke event credentials.
     *
     * @return EventCredential
     */
    public function revokeEventCredential(string $credential): array
    {
        return $this->json('DELETE', '/v1/event_credentials/' . rawurlencode($credential));
    }

    /**
     * List API keys.
     *
     * @return ApiKeyPage
     */
    public function listKeys(): array
    {
        return $this->json('GET', '/v1/keys');
    }

    /**
     * Make an API key.
     *
     * @param KeyWish $body
     * @return NewApiKey
     */
    public function createKey(array $body): array
    {
        return $this->json('POST', '/v1/keys', body: $body);
    }

    /**
     * Describe an API key.
     *
     * @return ApiKey
     */
    public function retrieveKey(string $key): array
    {
        return $this->json('GET', '/v1/keys/' . rawurlencode($key));
    }

    /**
     * Revoke an API key.
     *
     * @return ApiKey
     */
    public function revokeKey(string $key): array
    {
        return $this->json('DELETE', '/v1/keys/' . rawurlencode($key));
    }

    /**
     * Replace an API key.
     *
     * @param RotateWish $body
     * @return NewApiKey
     */
    public function rotateKey(string $key, array $body = []): array
    {
        return $this->json('POST', '/v1/keys/' . rawurlencode($key) . '/rotate', body: $body);
    }

    /**
     * List members.
     *
     * @return MemberPage
     */
    public function listMembers(): array
    {
        return $this->json('GET', '/v1/members');
    }

    /**
     * Add a member.
     *
     * @param MemberWish $body
     * @return Member
     */
    public function createMember(array $body): array
    {
        return $this->json('POST', '/v1/members', body: $body);
    }

    /**
     * Describe a member.
     *
     * @return Member
     */
    public function retrieveMember(string $member): array
    {
        return $this->json('GET', '/v1/members/' . rawurlencode($member));
    }

    /**
     * Remove a member.
     *
     * @return RemovedMember
     */
    public function deleteMember(string $member): array
    {
        return $this->json('DELETE', '/v1/members/' . rawurlencode($member));
    }

    /**
     * Change a member.
     *
     * @param MemberChange $body
     * @return Member
     */
    public function updateMember(string $member, array $body): array
    {
        return $this->json('PATCH', '/v1/members/' . rawurlencode($member), body: $body);
    }

    /**
     * Invite a member to sign in.
     *
     * @param InvitationWish $body
     * @return Invitation
     */
    public function inviteMember(string $member, array $body = []): array
    {
        return $this->json('POST', '/v1/members/' . rawurlencode($member) . '/invitation', body: $body);
    }

    /**
     * Read the audit log.
     *
     * @param array{after?: int|null, limit?: int} $query
     * @return AuditEntryPage
     */
    public function listAudit(array $query = []): array
    {
        return $this->json('GET', '/v1/audit', query: $query);
    }

    /**
     * Verify the audit log.
     *
     * @return Verification
     */
    public function verifyAudit(): array
    {
        return $this->json('GET', '/v1/audit/verify');
    }

    /**
     * How the month stands.
     *
     * @return Budget
     */
    public function retrieveBudget(): array
    {
        return $this->json('GET', '/v1/budget');
    }

    /**
     * Limit what a month may cost.
     *
     * @param BudgetWish $body
     * @return Budget
     */
    public function setBudget(array $body): array
    {
        return $this->json('PUT', '/v1/budget', body: $body);
    }

    /**
     * Lift the limit.
     *
     * @return Budget
     */
    public function removeBudget(): array
    {
        return $this->json('DELETE', '/v1/budget');
    }

    /**
     * Whether a job can be shown.
     *
     * @return WandbKey
     */
    public function retrieveWandbKey(): array
    {
        return $this->json('GET', '/v1/wandb_key');
    }

    /**
     * Give a key of one's own.
     *
     * @param WandbKeyWish $body
     * @return WandbKey
     */
    public function setWandbKey(array $body): array
    {
        return $this->json('PUT', '/v1/wandb_key', body: $body);
    }

    /**
     * Forget one's own key.
     *
     * @return WandbKey
     */
    public function removeWandbKey(): array
    {
        return $this->json('DELETE', '/v1/wandb_key');
    }

    /**
     * Where am I signed in?.
     *
     * @return SessionPage
     */
    public function listSessions(): array
    {
        return $this->json('GET', '/v1/sessions');
    }

    /**
     * Sign in.
     *
     * @param SignIn $body
     * @return Me
     */
    public function signIn(array $body): array
    {
        return $this->json('POST', '/v1/sessions', body: $body);
    }

    /**
     * Sign out everywhere.
     *
     * @return Ended
     */
    public function signOutEverywhere(): array
    {
        return $this->json('DELETE', '/v1/sessions');
    }

    /**
     * Who am I?.
     *
     * @return Me
     */
    public function retrieveMe(): array
    {
        return $this->json('GET', '/v1/me');
    }

    /**
     * Set one's password.
     *
     * @param PasswordWish $body
     * @return Ended
     */
    public function setPassword(array $body): array
    {
        return $this->json('PUT', '/v1/me/password', body: $body);
    }

    /**
     * Sign out.
     *
     * @return Ended
     */
    public function signOut(string $session): array
    {
        return $this->json('DELETE', '/v1/sessions/' . rawurlencode($session));
    }

    /**
     * Set a password with an invitation.
     *
     * @param Acceptance $body
     * @return Member
     */
    public function acceptInvitation(array $body): array
    {
        return $this->json('POST', '/v1/invitations/accept', body: $body);
    }

    private function json(string $method, string $path, mixed ...$sent): array
    {
        return json_decode((string) $this->send($method, $path, ...$sent)->getBody(), true, flags: JSON_THROW_ON_ERROR);
    }

    private function bytes(string $method, string $path, mixed ...$sent): StreamInterface
    {
        return $this->send($method, $path, ...$sent, stream: true)->getBody();
    }

    private function events(string $method, string $path, mixed ...$sent): Generator
    {
        $body = $this->bytes($method, $path, ...$sent);
        $fields = [];
        while (($line = self::line($body)) !== null) {
            if ($line === '' && isset($fields['data'])) {
                yield [
                    'id' => $fields['id'] ?? null,
                    'event' => $fields['event'] ?? 'message',
                    'data' => json_decode($fields['data'], true, flags: JSON_THROW_ON_ERROR),
                ];
            }
            if ($line === '') {
                $fields = [];
            } elseif (preg_match('/^(\w+): ?(.*)$/', $line, $found)) {
                $fields[$found[1]] = isset($fields[$found[1]]) ? "{$fields[$found[1]]}\n$found[2]" : $found[2];
            }
        }
    }

    private static function line(StreamInterface $body): ?string
    {
        for ($line = ''; !$body->eof();) {
            $read = $body->read(1);
            if ($read === "\n") {
                return rtrim($line, "\r");
            }
            $line .= $read;
        }
        return null;
    }

    private function send(
        string $method,
        string $path,
        ?array $body = null,
        ?array $form = null,
        array $query = [],
        ?string $lastEventId = null,
        bool $stream = false,
    ): ResponseInterface {
        $asked = ['http_errors' => false, 'stream' => $stream];
        $asked['headers'] = ['Authorization' => "Bearer $this->key"] + $this->headers;
        if ($lastEventId !== null) {
            $asked['headers']['Last-Event-ID'] = $lastEventId;
        }
        if ($body !== null) {
            $asked['headers']['Content-Type'] = 'application/json';
            $asked['body'] = json_encode((object) self::told($body), JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION);
        }
        if ($form !== null) {
            $asked['multipart'] = self::flat($form);
        }
        $query = http_build_query(array_map(fn ($value) => is_bool($value) ? var_export($value, true) : $value, $query));
        $response = $this->http->request($method, $this->url . $path . ($query ? "?$query" : ''), $asked);
        return $response->getStatusCode() < 400 ? $response : throw self::refusal($response);
    }

    private static function told(array $values): array
    {
        foreach ($values as $name => $value) {
            if (is_array($value)) {
                $empty = $value === [] && in_array($name, self::OBJECTS, true);
                $values[$name] = $empty ? (object) [] : self::told($value);
            }
        }
        return $values;
    }

    private static function flat(array $values, string $within = ''): array
    {
        $found = [];
        foreach ($values as $name => $value) {
            $place = $within === '' ? (string) $name : "{$within}[$name]";
            if (is_array($value) && !isset($value['contents'])) {
                array_push($found, ...self::flat($value, $place));
            } else {
                $part = is_array($value) ? $value : ['contents' => is_scalar($value) ? (string) $value : $value];
                $found[] = ['name' => $place] + $part;
            }
        }
        return $found;
    }

    private static function refusal(ResponseInterface $response): WoodshedError
    {
        $said = json_decode((string) $response->getBody(), true)['error'] ?? [];
        $wait = $response->getHeaderLine('Retry-After');
        return new WoodshedError(
            $said['message'] ?? "The server answered {$response->getStatusCode()}.",
            $response->getStatusCode(),
            $said['code'] ?? 'unknown',
            $said['param'] ?? null,
            $wait === '' ? null : (int) $wait,
        );
    }
}
