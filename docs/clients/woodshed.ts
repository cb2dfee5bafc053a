// Written by `make docs` from the API's own OpenAPI description; change docs/clients/woodshed.template.ts instead.
//
// A client of Woodshed in one file without dependencies: copy it into your project. One method for each operation of the
// API, named like it there.
//
//     const woodshed = new Woodshed("http://127.0.0.1:8080", "wsk-…");
//     const job = await woodshed.retrieveFineTuningJob("ftjob-…");

/** What the API refused: `code` for programs, `message` for people, `param` names the field that is at fault. */
export class WoodshedError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly param: string | null,
    /** Seconds after which the same call may work. */
    readonly retryAfter: number | null,
  ) {
    super(message);
    this.name = "WoodshedError";
  }
}

/** One message of a live page. Facts have an `id`, after which a page can be followed again; measurements have none. */
export interface LiveEvent {
  id: string | null;
  event: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  data: any;
}

/** Where to begin, and a signal that ends it. */
export interface Follow {
  lastEventId?: string;
  signal?: AbortSignal;
}

interface Sent extends Follow {
  body?: unknown;
  form?: object;
  query?: object;
}

/** Every entry of a list, page by page: `every((after) => woodshed.listFiles({ after }))`. */
export async function* every<T extends { id: string }>(
  ask: (after?: string) => Promise<{ data: T[]; has_more: boolean }>,
): AsyncGenerator<T> {
  for (let after: string | undefined; ; ) {
    const page = await ask(after);
    yield* page.data;
    if (!page.has_more) return;
    after = page.data[page.data.length - 1].id;
  }
}

export class Woodshed {
  constructor(
    private readonly url: string,
    private readonly key: string,
    private readonly headers: Record<string, string> = {},
  ) {}

  /** The same client with headers on top, such as an `Idempotency-Key` for one call. */
  with(headers: Record<string, string>): Woodshed {
    return new Woodshed(this.url, this.key, { ...this.headers, ...headers });
  }

  /** List files. */
  listFiles(query: { purpose?: string | null; after?: string | null; limit?: number; order?: "asc" | "desc" } = {}): Promise<FilePage> {
    return this.json("GET", `/v1/files`, { query });
  }

  /** Upload a file. */
  createFile(body: CreateFileForm): Promise<File> {
    return this.json("POST", `/v1/files`, { form: body });
  }

  /** Describe a file. */
  retrieveFile(file_id: string): Promise<File> {
    return this.json("GET", `/v1/files/${encodeURIComponent(file_id)}`);
  }

  /** Delete a file. */
  deleteFile(file_id: string): Promise<DeletedFile> {
    return this.json("DELETE", `/v1/files/${encodeURIComponent(file_id)}`);
  }

  /** Download a file. */
  downloadFile(file_id: string): Promise<Response> {
    return this.bytes("GET", `/v1/files/${encodeURIComponent(file_id)}/content`);
  }

  /** Announce an upload in parts. */
  createUpload(body: UploadWish): Promise<Upload> {
    return this.json("POST", `/v1/uploads`, { body });
  }

  /** Make a file of the parts. */
  completeUpload(upload_id: string, body: CompletionWish): Promise<Upload> {
    return this.json("POST", `/v1/uploads/${encodeURIComponent(upload_id)}/complete`, { body });
  }

  /** Throw an upload away. */
  cancelUpload(upload_id: string): Promise<Upload> {
    return this.json("POST", `/v1/uploads/${encodeURIComponent(upload_id)}/cancel`);
  }

  /** Send a part. */
  addUploadPart(upload_id: string, body: AddUploadPartForm): Promise<UploadPart> {
    return this.json("POST", `/v1/uploads/${encodeURIComponent(upload_id)}/parts`, { form: body });
  }

  /** List datasets. */
  listDatasets(query: { after?: string | null; limit?: number } = {}): Promise<DatasetPage> {
    return this.json("GET", `/v1/datasets`, { query });
  }

  /** Ask for a dataset. */
  createDataset(body: DatasetWish): Promise<Dataset> {
    return this.json("POST", `/v1/datasets`, { body });
  }

  /** Describe a dataset. */
  retrieveDataset(dataset: string): Promise<Dataset> {
    return this.json("GET", `/v1/datasets/${encodeURIComponent(dataset)}`);
  }

  /** Show examples as the model sees them. */
  previewDataset(dataset: string, query: { count?: number } = {}): Promise<DatasetPreview> {
    return this.json("GET", `/v1/datasets/${encodeURIComponent(dataset)}/preview`, { query });
  }

  /** List jobs. */
  listPaginatedFineTuningJobs(query: { after?: string | null; limit?: number; metadata?: Record<string, string> | null } = {}): Promise<JobPage> {
    return this.json("GET", `/v1/fine_tuning/jobs`, { query });
  }

  /** Submit a job. */
  createFineTuningJob(body: JobWish): Promise<Job> {
    return this.json("POST", `/v1/fine_tuning/jobs`, { body });
  }

  /** Describe a job. */
  retrieveFineTuningJob(job: string): Promise<Job> {
    return this.json("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}`);
  }

  /** Cancel a job. */
  cancelFineTuningJob(job: string): Promise<Job> {
    return this.json("POST", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/cancel`);
  }

  /** Pause a job. */
  pauseFineTuningJob(job: string): Promise<Job> {
    return this.json("POST", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/pause`);
  }

  /** Resume a job. */
  resumeFineTuningJob(job: string): Promise<Job> {
    return this.json("POST", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/resume`);
  }

  /** A job's story. */
  listFineTuningEvents(job: string, query: { after?: string | null; limit?: number } = {}): Promise<JobEventPage> {
    return this.json("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/events`, { query });
  }

  /** A job's checkpoints. */
  listFineTuningJobCheckpoints(job: string, query: { after?: string | null; limit?: number } = {}): Promise<CheckpointPage> {
    return this.json("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/checkpoints`, { query });
  }

  /** Who may use a checkpoint. */
  listFineTuningCheckpointPermissions(checkpoint: string, query: { project_id?: string | null; after?: string | null; limit?: number; order?: "ascending" | "descending" } = {}): Promise<CheckpointPermissionPage> {
    return this.json("GET", `/v1/fine_tuning/checkpoints/${encodeURIComponent(checkpoint)}/permissions`, { query });
  }

  /** Let projects use a checkpoint. */
  createFineTuningCheckpointPermission(checkpoint: string, body: PermissionWish): Promise<CheckpointPermissionPage> {
    return this.json("POST", `/v1/fine_tuning/checkpoints/${encodeURIComponent(checkpoint)}/permissions`, { body });
  }

  /** Take a permission back. */
  deleteFineTuningCheckpointPermission(checkpoint: string, permission: string): Promise<DeletedPermission> {
    return this.json("DELETE", `/v1/fine_tuning/checkpoints/${encodeURIComponent(checkpoint)}/permissions/${encodeURIComponent(permission)}`);
  }

  /** A job's log. */
  downloadFineTuningJobLog(job: string): Promise<Response> {
    return this.bytes("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/log`);
  }

  /** What a retry would change. */
  previewFineTuningJobRetry(job: string, query: { training_file?: string | null; n_epochs?: number | null; learning_rate?: number | null; rank?: number | null; max_length?: number | null; time_limit?: number | null; as_it_was?: boolean } = {}): Promise<Retry> {
    return this.json("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/retry`, { query });
  }

  /** Try a failed job again, with its fix. */
  retryFineTuningJob(job: string, body: RetryWish = {}): Promise<Job> {
    return this.json("POST", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/retry`, { body });
  }

  /** A job's figures by step. */
  listFineTuningJobMetrics(job: string, query: { format?: "json" | "csv" } = {}): Promise<MetricPage> {
    return this.json("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/metrics`, { query });
  }

  /** A job's figures for drawing. */
  retrieveFineTuningJobCurve(job: string): Promise<Curve> {
    return this.json("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/curve`);
  }

  /** The files training made. */
  listFineTuningJobArtifacts(job: string): Promise<ArtifactPage> {
    return this.json("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/artifacts`);
  }

  /** Download one of them. */
  downloadFineTuningJobArtifact(job: string, name: string): Promise<Response> {
    return this.bytes("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/artifacts/${encodeURIComponent(name)}`);
  }

  /** The model with all it takes to run it. */
  downloadFineTuningJobDeployment(job: string): Promise<Response> {
    return this.bytes("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/deployment.zip`);
  }

  /** The proof as figures. */
  retrieveFineTuningJobReport(job: string): Promise<Record<string, unknown>> {
    return this.json("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/report`);
  }

  /** The proof to print. */
  downloadFineTuningJobReportPdf(job: string): Promise<Response> {
    return this.bytes("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/report.pdf`);
  }

  /** The proof to read. */
  downloadFineTuningJobReportHtml(job: string): Promise<Response> {
    return this.bytes("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/report.html`);
  }

  /** One reply of base and tuned model. */
  askFineTunedModel(job: string, body: AskWish): Promise<ModelReplied> {
    return this.json("POST", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/ask`, { body });
  }

  /** What a job would take. */
  createEstimate(body: EstimateWish): Promise<JobEstimated> {
    return this.json("POST", `/v1/estimates`, { body });
  }

  /** List what trains. */
  listMachines(): Promise<MachineList> {
    return this.json("GET", `/v1/machines`);
  }

  /** List models. */
  listModels(): Promise<ModelPage> {
    return this.json("GET", `/v1/models`);
  }

  /** Describe a model. */
  retrieveModel(model: string): Promise<Model> {
    return this.json("GET", `/v1/models/${encodeURIComponent(model)}`);
  }

  /** Delete a trained model. */
  deleteModel(model: string): Promise<DeletedModel> {
    return this.json("DELETE", `/v1/models/${encodeURIComponent(model)}`);
  }

  /** List who is told. */
  listNoticeRecipients(query: { after?: string | null; limit?: number } = {}): Promise<NoticeRecipientPage> {
    return this.json("GET", `/v1/notice_recipients`, { query });
  }

  /** Name somebody. */
  createNoticeRecipient(body: RecipientWish): Promise<NoticeRecipient> {
    return this.json("POST", `/v1/notice_recipients`, { body });
  }

  /** Describe one. */
  retrieveNoticeRecipient(recipient: string): Promise<NoticeRecipient> {
    return this.json("GET", `/v1/notice_recipients/${encodeURIComponent(recipient)}`);
  }

  /** Change how somebody is told. */
  updateNoticeRecipient(recipient: string, body: RecipientWish): Promise<NoticeRecipient> {
    return this.json("POST", `/v1/notice_recipients/${encodeURIComponent(recipient)}`, { body });
  }

  /** Tell somebody nothing more. */
  deleteNoticeRecipient(recipient: string): Promise<DeletedRecipient> {
    return this.json("DELETE", `/v1/notice_recipients/${encodeURIComponent(recipient)}`);
  }

  /** List links. */
  listDownloadLinks(query: { after?: string | null; limit?: number } = {}): Promise<DownloadLinkPage> {
    return this.json("GET", `/v1/download_links`, { query });
  }

  /** Make a link. */
  createDownloadLink(body: LinkWish): Promise<DownloadLink> {
    return this.json("POST", `/v1/download_links`, { body });
  }

  /** Describe a link. */
  retrieveDownloadLink(link: string): Promise<DownloadLink> {
    return this.json("GET", `/v1/download_links/${encodeURIComponent(link)}`);
  }

  /** Revoke a link. */
  revokeDownloadLink(link: string): Promise<DownloadLink> {
    return this.json("DELETE", `/v1/download_links/${encodeURIComponent(link)}`);
  }

  /** Download by a link. */
  downloadByLink(link: string, query: { expires: number; signature: string }): Promise<Response> {
    return this.bytes("GET", `/v1/downloads/${encodeURIComponent(link)}`, { query });
  }

  /** List endpoints. */
  listWebhookEndpoints(query: { after?: string | null; limit?: number } = {}): Promise<WebhookEndpointPage> {
    return this.json("GET", `/v1/webhook_endpoints`, { query });
  }

  /** Make an endpoint. */
  createWebhookEndpoint(body: WebhookWish): Promise<WebhookEndpoint> {
    return this.json("POST", `/v1/webhook_endpoints`, { body });
  }

  /** Describe an endpoint. */
  retrieveWebhookEndpoint(webhook: string): Promise<WebhookEndpoint> {
    return this.json("GET", `/v1/webhook_endpoints/${encodeURIComponent(webhook)}`);
  }

  /** Change an endpoint. */
  updateWebhookEndpoint(webhook: string, body: WebhookChange): Promise<WebhookEndpoint> {
    return this.json("POST", `/v1/webhook_endpoints/${encodeURIComponent(webhook)}`, { body });
  }

  /** Remove an endpoint. */
  deleteWebhookEndpoint(webhook: string): Promise<DeletedWebhookEndpoint> {
    return this.json("DELETE", `/v1/webhook_endpoints/${encodeURIComponent(webhook)}`);
  }

  /** Give an endpoint a new secret. */
  rotateWebhookEndpointSecret(webhook: string, body: RotationWish = {}): Promise<WebhookEndpoint> {
    return this.json("POST", `/v1/webhook_endpoints/${encodeURIComponent(webhook)}/rotate_secret`, { body });
  }

  /** Send a sample now. */
  testWebhookEndpoint(webhook: string, body: TrialWish): Promise<WebhookTestResult> {
    return this.json("POST", `/v1/webhook_endpoints/${encodeURIComponent(webhook)}/test`, { body });
  }

  /** What was sent there. */
  listWebhookEndpointDeliveries(webhook: string, query: { after?: string | null; limit?: number } = {}): Promise<WebhookDeliveryPage> {
    return this.json("GET", `/v1/webhook_endpoints/${encodeURIComponent(webhook)}/deliveries`, { query });
  }

  /** Send an event again. */
  replayWebhookEndpointDelivery(webhook: string, delivery: string): Promise<WebhookDelivery> {
    return this.json("POST", `/v1/webhook_endpoints/${encodeURIComponent(webhook)}/deliveries/${encodeURIComponent(delivery)}/replay`);
  }

  /** What an endpoint can be called for. */
  listWebhookEventTypes(): Promise<EventTypeList> {
    return this.json("GET", `/v1/webhook_event_types`);
  }

  /** Continue a conversation. */
  createChatCompletion(body: ChatWish): Promise<Completion> {
    return this.json("POST", `/v1/chat/completions`, { body });
  }

  /** Everything, live. */
  streamEvents(options: Follow = {}): AsyncGenerator<LiveEvent> {
    return this.events("GET", `/v1/stream`, { ...options });
  }

  /** One job, live. */
  streamFineTuningJob(job: string, options: Follow = {}): AsyncGenerator<LiveEvent> {
    return this.events("GET", `/v1/fine_tuning/jobs/${encodeURIComponent(job)}/stream`, { ...options });
  }

  /** List event credentials. */
  listEventCredentials(query: { after?: string | null; limit?: number } = {}): Promise<EventCredentialPage> {
    return this.json("GET", `/v1/event_credentials`, { query });
  }

  /** Make event credentials. */
  createEventCredential(body: CredentialWish): Promise<NewEventCredential> {
    return this.json("POST", `/v1/event_credentials`, { body });
  }

  /** Describe event credentials. */
  retrieveEventCredential(credential: string): Promise<EventCredential> {
    return this.json("GET", `/v1/event_credentials/${encodeURIComponent(credential)}`);
  }

  /** Revoke event credentials. */
  revokeEventCredential(credential: string): Promise<EventCredential> {
    return this.json("DELETE", `/v1/event_credentials/${encodeURIComponent(credential)}`);
  }

  /** List API keys. */
  listKeys(): Promise<ApiKeyPage> {
    return this.json("GET", `/v1/keys`);
  }

  /** Make an API key. */
  createKey(body: KeyWish): Promise<NewApiKey> {
    return this.json("POST", `/v1/keys`, { body });
  }

  /** Describe an API key. */
  retrieveKey(key: string): Promise<ApiKey> {
    return this.json("GET", `/v1/keys/${encodeURIComponent(key)}`);
  }

  /** Revoke an API key. */
  revokeKey(key: string): Promise<ApiKey> {
    return this.json("DELETE", `/v1/keys/${encodeURIComponent(key)}`);
  }

  /** Replace an API key. */
  rotateKey(key: string, body: RotateWish = {}): Promise<NewApiKey> {
    return this.json("POST", `/v1/keys/${encodeURIComponent(key)}/rotate`, { body });
  }

  /** List members. */
  listMembers(): Promise<MemberPage> {
    return this.json("GET", `/v1/members`);
  }

  /** Add a member. */
  createMember(body: MemberWish): Promise<Member> {
    return this.json("POST", `/v1/members`, { body });
  }

  /** Describe a member. */
  retrieveMember(member: string): Promise<Member> {
    return this.json("GET", `/v1/members/${encodeURIComponent(member)}`);
  }

  /** Remove a member. */
  deleteMember(member: string): Promise<RemovedMember> {
    return this.json("DELETE", `/v1/members/${encodeURIComponent(member)}`);
  }

  /** Change a member. */
  updateMember(member: string, body: MemberChange): Promise<Member> {
    return this.json("PATCH", `/v1/members/${encodeURIComponent(member)}`, { body });
  }

  /** Invite a member to sign in. */
  inviteMember(member: string, body: InvitationWish = {}): Promise<Invitation> {
    return this.json("POST", `/v1/members/${encodeURIComponent(member)}/invitation`, { body });
  }

  /** Read the audit log. */
  listAudit(query: { after?: number | null; limit?: number } = {}): Promise<AuditEntryPage> {
    return this.json("GET", `/v1/audit`, { query });
  }

  /** Verify the audit log. */
  verifyAudit(): Promise<Verification> {
    return this.json("GET", `/v1/audit/verify`);
  }

  /** How the month stands. */
  retrieveBudget(): Promise<Budget> {
    return this.json("GET", `/v1/budget`);
  }

  /** Limit what a month may cost. */
  setBudget(body: BudgetWish): Promise<Budget> {
    return this.json("PUT", `/v1/budget`, { body });
  }

  /** Lift the limit. */
  removeBudget(): Promise<Budget> {
    return this.json("DELETE", `/v1/budget`);
  }

  /** Whether a job can be shown. */
  retrieveWandbKey(): Promise<WandbKey> {
    return this.json("GET", `/v1/wandb_key`);
  }

  /** Give a key of one's own. */
  setWandbKey(body: WandbKeyWish): Promise<WandbKey> {
    return this.json("PUT", `/v1/wandb_key`, { body });
  }

  /** Forget one's own key. */
  removeWandbKey(): Promise<WandbKey> {
    return this.json("DELETE", `/v1/wandb_key`);
  }

  /** Where am I signed in?. */
  listSessions(): Promise<SessionPage> {
    return this.json("GET", `/v1/sessions`);
  }

  /** Sign in. */
  signIn(body: SignIn): Promise<Me> {
    return this.json("POST", `/v1/sessions`, { body });
  }

  /** Sign out everywhere. */
  signOutEverywhere(): Promise<Ended> {
    return this.json("DELETE", `/v1/sessions`);
  }

  /** Who am I?. */
  retrieveMe(): Promise<Me> {
    return this.json("GET", `/v1/me`);
  }

  /** Set one's password. */
  setPassword(body: PasswordWish): Promise<Ended> {
    return this.json("PUT", `/v1/me/password`, { body });
  }

  /** Sign out. */
  signOut(session: string): Promise<Ended> {
    return this.json("DELETE", `/v1/sessions/${encodeURIComponent(session)}`);
  }

  /** Set a password with an invitation. */
  acceptInvitation(body: Acceptance): Promise<Member> {
    return this.json("POST", `/v1/invitations/accept`, { body });
  }

  private async json<T>(method: string, path: string, sent: Sent = {}): Promise<T> {
    return (await this.bytes(method, path, sent)).json() as Promise<T>;
  }

  private async bytes(method: string, path: string, sent: Sent = {}): Promise<Response> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.key}`, ...this.headers };
    if (sent.body !== undefined) headers["Content-Type"] = "application/json";
    if (sent.lastEventId !== undefined) headers["Last-Event-ID"] = sent.lastEventId;
    const query = new URLSearchParams(flat(sent.query ?? {}) as [string, string][]).toString();
    const response = await fetch(this.url + path + (query && `?${query}`), {
      method,
      headers,
      body: sent.form ? formOf(sent.form) : sent.body === undefined ? undefined : JSON.stringify(sent.body),
      signal: sent.signal,
    });
    if (!response.ok) throw await refusal(response);
    return response;
  }

  private async *events(method: string, path: string, sent: Sent = {}): AsyncGenerator<LiveEvent> {
    const reader = (await this.bytes(method, path, sent)).body!.pipeThrough(new TextDecoderStream()).getReader();
    try {
      for (let read = ""; ; ) {
        const { done, value } = await reader.read();
        if (done) return;
        const messages = (read + value).replace(/\r\n/g, "\n").split("\n\n");
        read = messages.pop()!;
        for (const message of messages) {
          const event = eventOf(message);
          if (event) yield event;
        }
      }
    } finally {
      await reader.cancel();
    }
  }
}

function eventOf(message: string): LiveEvent | null {
  const fields: Record<string, string> = {};
  for (const line of message.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name) fields[name] = name in fields ? `${fields[name]}\n${value}` : value;
  }
  if (fields.data === undefined) return null;
  return { id: fields.id ?? null, event: fields.event ?? "message", data: JSON.parse(fields.data) };
}

function flat(values: object, within = ""): [string, string | Blob][] {
  return Object.entries(values).flatMap(([name, value]): [string, string | Blob][] => {
    const place = within ? `${within}[${name}]` : name;
    if (value === undefined || value === null) return [];
    if (value instanceof Blob) return [[place, value]];
    return typeof value === "object" ? flat(value, place) : [[place, String(value)]];
  });
}

function formOf(values: object): FormData {
  const form = new FormData();
  for (const [name, value] of flat(values)) form.append(name, value);
  return form;
}

async function refusal(response: Response): Promise<WoodshedError> {
  const { message, code, param } = (await response.json().catch(() => ({})))?.error ?? {};
  const wait = response.headers.get("Retry-After");
  const text = message ?? `The server answered ${response.status}.`;
  return new WoodshedError(text, response.status, code ?? "unknown", param ?? null, wait === null ? null : Number(wait));
}

/** An invitation, the password that shall be the member's, and what they want to be called, if otherwise. */
export interface Acceptance {
  invitation: string;
  password: string;
  name?: string | null;
}

export interface AddUploadPartForm {
  data: Blob;
}

export interface ApiKey {
  id: string;
  name: string;
  shown: string;
  member: string;
  role: "owner" | "engineer" | "analyst" | "staff";
  scopes: Array<string> | null;
  permissions: Array<string>;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
  revoked_at: number | null;
  made_by: string | null;
  rotated_to: string | null;
  object: "api_key";
}

export interface ApiKeyPage {
  data: Array<ApiKey>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface Artifact {
  name: string;
  size: number;
  sha256: string;
  url: string;
  object: "artifact";
}

export interface ArtifactPage {
  data: Array<Artifact>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

/** The body of ``POST …/ask``: one prompt for the base model and the trained one. */
export interface AskWish {
  prompt: string;
  max_tokens?: number;
}

export interface AuditEntry {
  number: number;
  at: string;
  actor: string;
  via: string;
  action: string;
  about: string;
  details: Record<string, unknown>;
  origin: string;
  request_id: string;
  previous: string;
  hash: string;
  object: "audit.entry";
}

export interface AuditEntryPage {
  data: Array<AuditEntry>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface Budget {
  monthly: number | null;
  time_zone: string;
  month: string;
  spent: number | null;
  held: number | null;
  left: number | null;
  used_up: boolean;
  object: "budget";
}

/** What a month may cost at most, in the installation's currency, and by whose clock a month begins. */
export interface BudgetWish {
  monthly: number;
  time_zone?: string;
}

export interface Change {
  field: string;
  old: number | string | null;
  new: number | string | null;
  why: string;
}

/** The body of ``POST /v1/chat/completions``. From ``tools`` on it holds what cannot be done here, and last the hints that change no reply. */
export interface ChatWish {
  model: string;
  messages: Array<WishedTurn>;
  stream?: boolean | null;
  stream_options?: WishedStream | null;
  max_tokens?: number | null;
  max_completion_tokens?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  stop?: string | Array<string> | null;
  seed?: number | null;
  logprobs?: boolean | null;
  top_logprobs?: number | null;
  tools?: [] | null;
  tool_choice?: "none" | "auto" | null;
  parallel_tool_calls?: true | false | null;
  functions?: [] | null;
  function_call?: "none" | "auto" | null;
  response_format?: {"type": "text"} | null;
  modalities?: ["text"] | null;
  audio?: null;
  prediction?: null;
  moderation?: null;
  web_search_options?: null;
  logit_bias?: {} | null;
  presence_penalty?: 0 | null;
  frequency_penalty?: 0 | null;
  reasoning_effort?: "none" | null;
  verbosity?: "medium" | null;
  n?: 1 | null;
  store?: false | null;
  service_tier?: "auto" | "default" | null;
  user?: unknown;
  metadata?: unknown;
  safety_identifier?: unknown;
  prompt_cache_key?: unknown;
  prompt_cache_retention?: unknown;
  prompt_cache_options?: unknown;
}

export interface Checkpoint {
  id: string;
  created_at: number;
  fine_tuned_model_checkpoint: string;
  step_number: number;
  metrics: CheckpointMetrics;
  fine_tuning_job_id: string;
  object: "fine_tuning.job.checkpoint";
}

export interface CheckpointMetrics {
  step: number;
  train_loss?: number;
  train_mean_token_accuracy?: number;
  valid_loss?: number;
  valid_mean_token_accuracy?: number;
  full_valid_loss?: number;
  full_valid_mean_token_accuracy?: number;
}

export interface CheckpointPage {
  data: Array<Checkpoint>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface CheckpointPermission {
  id: string;
  created_at: number;
  project_id: string;
  object: "checkpoint.permission";
}

export interface CheckpointPermissionPage {
  data: Array<CheckpointPermission>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface Choice {
  message: Message;
  finish_reason: string;
  logprobs: Logprobs | null;
  index: number;
}

export interface Completion {
  id: string;
  created: number;
  model: string;
  choices: Array<Choice>;
  usage: Usage;
  system_fingerprint: string;
  service_tier: "default";
  object: "chat.completion";
}

export interface CompletionDetails {
  reasoning_tokens: number;
  audio_tokens: number;
  accepted_prediction_tokens: number;
  rejected_prediction_tokens: number;
}

/** The body of ``POST …/complete``: the parts in the order of the file, and its MD5 sum to check them with. */
export interface CompletionWish {
  part_ids: Array<string>;
  md5?: string | null;
}

export interface CreateFileForm {
  purpose: "assistants" | "batch" | "fine-tune" | "vision" | "user_data" | "evals";
  file: Blob;
  expires_after?: { anchor: "created_at"; seconds: number };
}

/** New credentials. Without ``expires_in`` they hold as long as the key they are made with. */
export interface CredentialWish {
  name: string;
  expires_in?: number | null;
}

export interface Curve {
  points: Array<CurvePoint>;
  object: "fine_tuning.job.curve";
}

export interface CurvePoint {
  step: number;
  train_loss: number;
  train_loss_min: number;
  train_loss_max: number;
  learning_rate: number;
  grad_norm: number;
  valid_loss: number | null;
}

export interface Dataset {
  id: string;
  created_at: number;
  file: string;
  filename: string;
  model: string;
  format: string;
  split: Record<string, unknown>;
  state: string;
  validation_file: string | null;
  finished_at: number | null;
  figures: Record<string, unknown> | null;
  problems: Array<Record<string, unknown>>;
  problem_count: number;
  progress: Record<string, unknown> | null;
  error: JobError | null;
  object: "dataset";
}

export interface DatasetPage {
  data: Array<Dataset>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface DatasetPreview {
  examples: Array<PreviewedExample>;
  type: "dataset.preview_answer.v1";
}

/** The body of ``POST /v1/datasets``. ``max_length`` is the longest example in tokens. */
export interface DatasetWish {
  file: string;
  base_model?: string | null;
  format?: string;
  split?: WishedSplit | null;
  validation_file?: string | null;
  max_length?: number;
}

export interface DeletedFile {
  id: string;
  object: "file";
  deleted: boolean;
}

export interface DeletedModel {
  id: string;
  object: "model";
  deleted: boolean;
}

export interface DeletedPermission {
  id: string;
  object: "checkpoint.permission";
  deleted: boolean;
}

export interface DeletedRecipient {
  id: string;
  deleted: boolean;
  object: "notice_recipient.deleted";
}

export interface DeletedWebhookEndpoint {
  id: string;
  deleted: boolean;
  object: "webhook_endpoint.deleted";
}

export interface Device {
  device_id: string;
  runner: string;
  kind: string;
  precision: string;
  threads: number;
  memory_bytes: number;
  free_bytes: number;
  online: boolean;
  leaving: boolean;
  shared: boolean;
  jobs: Array<string>;
  others: number;
  heard_ago: number | null;
  pool: string;
}

export interface DownloadLink {
  id: string;
  url: string;
  created_at: number;
  expires_at: number;
  status: string;
  file: string | null;
  job: string | null;
  artifact: string | null;
  report: string | null;
  sha256: string;
  made_by: string;
  downloads: number;
  last_used_at: number | null;
  object: "download_link";
}

export interface DownloadLinkPage {
  data: Array<DownloadLink>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface Dpo {
  hyperparameters: PairingHyperparameters;
}

export interface Ended {
  ended: Array<string>;
  object: "sessions.ended";
}

export interface Estimate {
  seconds: number;
  seconds_low: number;
  seconds_high: number;
  cost: number;
  currency: string;
  memory_bytes: number;
  steps: number;
  tokens: number;
  notes: Array<string>;
}

/** The body of ``POST /v1/estimates``: a job that is not submitted yet. */
export interface EstimateWish {
  dataset: string;
  model?: string | null;
  preset?: "conservative" | "quick" | "balanced" | "standard" | "aggressive" | "deep";
  hyperparameters?: WishedHyperparameters | null;
  rank?: number | null;
  learning_rate?: number | null;
  time_limit?: number | null;
  budget?: number | null;
  max_length?: number | null;
  training?: "full" | "lora" | null;
  quantization?: "nf4" | "none" | null;
  method?: WishedMethod | null;
}

export interface EventCredential {
  id: string;
  name: string;
  member: string;
  made_by: string;
  created_at: number;
  expires_at: number | null;
  connected_at: number | null;
  revoked_at: number | null;
  object: "event_credential";
}

export interface EventCredentialPage {
  data: Array<EventCredential>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface EventTypeList {
  data: Array<string>;
  object: "list";
}

/** When a file goes by itself: ``seconds`` after it was made. */
export interface ExpiryWish {
  anchor: "created_at";
  seconds: number;
}

export interface File {
  id: string;
  bytes: number;
  created_at: number;
  filename: string;
  purpose: "assistants" | "assistants_output" | "batch" | "batch_output" | "evals" | "fine-tune" | "fine-tune-results" | "user_data" | "vision";
  sha256: string;
  expires_at?: number;
  object: "file";
  status: "processed" | "error";
  status_details: string | null;
}

export interface FilePage {
  data: Array<File>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface Fix {
  kind: string;
  title: string;
  sentence: string;
  settings: Record<string, unknown> | null;
}

export interface Hyperparameters {
  n_epochs: number | "auto";
  batch_size: number | "auto";
  learning_rate_multiplier: number | "auto";
}

export interface Integration {
  wandb: Wandb;
  type: "wandb";
}

export interface Invitation {
  invitation: string | null;
  member: string;
  expires_at: number;
  object: "invitation";
}

/** How an invitation reaches the member: with ``send`` by mail, else by whoever asked for it. */
export interface InvitationWish {
  send?: boolean;
}

export interface Job {
  id: string;
  created_at: number;
  finished_at: number | null;
  model: string;
  fine_tuned_model: string | null;
  organization_id: string;
  result_files: Array<string>;
  status: "validating_files" | "queued" | "running" | "pausing" | "paused" | "succeeded" | "failed" | "cancelled";
  training_file: string;
  validation_file: string | null;
  trained_tokens: number | null;
  hyperparameters: Hyperparameters;
  error: JobError | null;
  seed: number;
  estimated_finish: number | null;
  method: Method;
  metadata: Record<string, string>;
  woodshed: JobDetails;
  integrations: Array<Integration>;
  object: "fine_tuning.job";
}

export interface JobDetails {
  preset: string;
  priority: string;
  stage: string;
  dataset: string;
  suffix: string;
  run: string | null;
  recipe: Record<string, unknown> | null;
  estimate: Record<string, unknown> | null;
  progress: Progress | null;
  seconds: number | null;
  cost: number | null;
  budget: number | null;
  interruptions: number;
  lost_steps: number;
  lost_seconds: number;
  headline: string | null;
  verdict: string | null;
  report: "running" | "ready" | "failed" | null;
  fix: Fix | null;
  retry_of: string | null;
  retried_as: string | null;
}

export interface JobError {
  code: string;
  message: string;
  param: string;
}

export interface JobEstimated {
  recipe: Recipe;
  estimate: Estimate;
  type: "job.estimate_answer.v1";
}

export interface JobEvent {
  id: string;
  created_at: number;
  level: "info" | "warn" | "error";
  message: string;
  type: "message" | "metrics";
  data: Record<string, number>;
  object: "fine_tuning.job.event";
}

export interface JobEventPage {
  data: Array<JobEvent>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface JobPage {
  data: Array<Job>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

/** The body of ``POST /v1/fine_tuning/jobs``. OpenAI's fields first; from ``preset`` on they are ours. ``time_limit`` is in seconds of training, ``max_length`` in tokens of a conversation, of which the rest is cut off. ``training`` is "lora" unless every weight is to be trained. ``quantization`` "nf4" keeps the base in four bits while a LoRA is trained on it: a quarter of its memory. ``budget`` is the most the job may cost, in the installation's currency: training ends before it is spent. */
export interface JobWish {
  model: string;
  training_file: string;
  validation_file?: string | null;
  hyperparameters?: WishedHyperparameters | null;
  method?: WishedMethod | null;
  suffix?: string | null;
  seed?: number | null;
  metadata?: Record<string, string> | null;
  integrations?: Array<WishedIntegration> | null;
  preset?: "conservative" | "quick" | "balanced" | "standard" | "aggressive" | "deep";
  priority?: "high" | "low" | "medium";
  dataset?: string | null;
  rank?: number | null;
  learning_rate?: number | null;
  time_limit?: number | null;
  budget?: number | null;
  max_length?: number | null;
  training?: "full" | "lora" | null;
  quantization?: "nf4" | "none" | null;
}

/** A new key. Without ``scopes`` and ``expires_in`` it reaches as far as whoever makes it. */
export interface KeyWish {
  name: string;
  scopes?: Array<"self" | "files.read" | "files.write" | "datasets.read" | "datasets.write" | "jobs.read" | "jobs.write" | "models.read" | "models.download" | "models.write" | "models.use" | "keys.own" | "keys.all" | "members.read" | "members.write" | "webhooks.read" | "webhooks.write" | "notices.read" | "notices.write" | "events.read" | "events.write" | "budgets.read" | "budgets.write" | "machines.read" | "audit.read"> | null;
  expires_in?: number | null;
  member?: string | null;
}

/** The body of ``POST /v1/download_links``: a ``file``, or of a ``job`` either an ``artifact`` or a ``report``. ``expires_in`` is in seconds, a minute to a week. */
export interface LinkWish {
  file?: string | null;
  job?: string | null;
  artifact?: string | null;
  report?: "html" | "json" | "pdf" | null;
  expires_in?: number;
}

export interface Logprobs {
  content: Array<TokenLogprob>;
  refusal: null;
}

export interface MachineList {
  data: Array<Device>;
  coming: number;
  object: "list";
}

export interface Me {
  organisation: string;
  member: string;
  role: "owner" | "engineer" | "analyst" | "staff";
  permissions: Array<string>;
  via: string;
  csrf_token: string | null;
  object: "me";
}

export interface Member {
  id: string;
  name: string;
  email: string | null;
  role: "owner" | "engineer" | "analyst" | "staff";
  permissions: Array<string>;
  created_at: number;
  signs_in: boolean;
  invitation_mail: string | null;
  object: "member";
}

/** What is to be different about a member; what is left out stays. */
export interface MemberChange {
  name?: string;
  email?: string;
  role?: "analyst" | "engineer" | "owner" | "staff";
}

export interface MemberPage {
  data: Array<Member>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

/** A new member. */
export interface MemberWish {
  name: string;
  email?: string | null;
  role: "analyst" | "engineer" | "owner" | "staff";
}

export interface Message {
  content: string;
  role: "assistant";
  refusal: null;
  annotations: Array<string>;
}

export interface Method {
  type: "supervised" | "dpo";
  supervised?: Supervised;
  dpo?: Dpo;
}

export interface Metric {
  step: number;
  epoch: number;
  train_loss: number;
  learning_rate: number;
  grad_norm: number;
  tokens: number;
  tokens_per_second: number;
  memory_bytes: number;
  train_mean_token_accuracy: number | null;
  valid_loss: number | null;
  valid_mean_token_accuracy: number | null;
  reward_margin: number | null;
  reward_accuracy: number | null;
}

export interface MetricPage {
  data: Array<Metric>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface Model {
  id: string;
  created: number;
  owned_by: string;
  object: "model";
  shutdown_date: string | null;
  job: string | null;
  base_model: string | null;
}

export interface ModelPage {
  data: Array<Model>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface ModelReplied {
  base: string;
  tuned: string;
  type: "model.reply.v1";
}

export interface NewApiKey {
  key: string;
  api_key: ApiKey;
  object: "new_api_key";
}

export interface NewEventCredential {
  servers: string;
  user: string;
  password: string;
  inbox_prefix: string;
  subject: string;
  missed: string;
  credential: EventCredential;
}

export interface NoticeRecipient {
  id: string;
  name: string;
  email: string | null;
  slack: boolean;
  slack_address: string | null;
  choices: Record<string, Record<string, string>>;
  time_zone: string;
  quiet_hours: QuietHours | null;
  digest_at: string;
  created_at: number;
  updated_at: number;
  object: "notice_recipient";
}

export interface NoticeRecipientPage {
  data: Array<NoticeRecipient>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface PairingHyperparameters {
  n_epochs: number | "auto";
  batch_size: number | "auto";
  learning_rate_multiplier: number | "auto";
  beta: number | "auto";
}

/** Another password. ``current`` may be left out as long as none is set. */
export interface PasswordWish {
  password: string;
  current?: string | null;
}

/** The body of ``POST …/permissions``: the projects that may use a checkpoint. */
export interface PermissionWish {
  project_ids: Array<string>;
}

export interface Piece {
  text: string;
  trained: boolean;
}

export interface PreviewedExample {
  example_id: string;
  tokens: number;
  trained_tokens: number;
  pieces: Array<Piece>;
  rejected: Array<Piece>;
}

export interface Progress {
  step: number;
  total_steps: number;
  epoch: number;
  loss: number;
  learning_rate: number;
  grad_norm: number;
  tokens: number;
  tokens_per_second: number;
  samples_per_second: number;
  eta_seconds: number;
  memory_bytes: number;
  cost: number;
  token_accuracy: number | null;
  eval_loss: number | null;
  eval_token_accuracy: number | null;
  reward_margin: number | null;
  reward_accuracy: number | null;
}

export interface PromptDetails {
  cached_tokens: number;
  audio_tokens: number;
}

export interface QuietHours {
  begin: string;
  end: string;
}

export interface Recipe {
  base_model: string;
  method: string;
  rank: number;
  alpha: number;
  dropout: number;
  learning_rate: number;
  epochs: number;
  batch_size: number;
  max_length: number;
  warmup_ratio: number;
  max_grad_norm: number;
  seed: number;
  max_steps: number;
  time_limit: number;
  objective: string;
  beta: number;
  quantization: string;
}

/** Who is told, and how: the body of ``POST /v1/notice_recipients``, and of a change, which replaces the whole. ``slack`` means the channel this installation posts to; with a ``slack_address``, which is an incoming webhook of Slack, it is one's own. That is never shown again: a change that leaves it out keeps it, null forgets it. ``choices`` say for each thing (finished, failed, cancelled, report, remark, budget) and channel (email, slack) whether it comes ``now``, in the ``digest`` or is ``off``; what they leave out comes now. */
export interface RecipientWish {
  name: string;
  email?: string | null;
  slack?: boolean;
  slack_address?: string | null;
  choices?: Record<string, Record<string, string>>;
  time_zone?: string;
  quiet_hours?: WishedQuiet | null;
  digest_at?: string;
}

export interface RemovedMember {
  id: string;
  object: "member";
  deleted: boolean;
}

export interface Retry {
  job: string;
  possible: boolean;
  changes: Array<Change>;
  hindrance: string | null;
  fix: Fix | null;
  retried_as: string | null;
  object: "fine_tuning.job.retry";
}

/** The body of ``POST …/retry``; an empty one applies the fix as ``GET …/retry`` shows it. Settings given here win over the fix; ``as_it_was`` leaves the fix out. ``training_file`` is a mended upload. ``force`` submits another retry although one is there already. */
export interface RetryWish {
  training_file?: string | null;
  hyperparameters?: WishedHyperparameters | null;
  rank?: number | null;
  learning_rate?: number | null;
  time_limit?: number | null;
  budget?: number | null;
  max_length?: number | null;
  as_it_was?: boolean;
  force?: boolean;
}

/** A key's successor: the same name, member and scopes. */
export interface RotateWish {
  overlap?: number;
  expires_in?: number | null;
}

/** The body of ``POST …/rotate_secret``. While the old secret is active, every call carries both signatures. */
export interface RotationWish {
  keep_old_secret_active_for_24_hours?: boolean;
}

export interface Session {
  id: string;
  origin: string;
  program: string;
  created_at: number;
  expires_at: number;
  current: boolean;
  object: "session";
}

export interface SessionPage {
  data: Array<Session>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

/** An address and its password; ``organisation`` is the installation's own if not given. */
export interface SignIn {
  email: string;
  password: string;
  organisation?: string | null;
}

export interface Supervised {
  hyperparameters: Hyperparameters;
}

export interface TokenLogprob {
  token: string;
  logprob: number;
  bytes: Array<number>;
  top_logprobs: Array<TopLogprob>;
}

export interface TopLogprob {
  token: string;
  logprob: number;
  bytes: Array<number>;
}

/** The body of ``POST …/test``. */
export interface TrialWish {
  event_type: "fine_tuning.job.succeeded" | "fine_tuning.job.failed" | "fine_tuning.job.cancelled" | "woodshed.job.remarked" | "woodshed.report.ready" | "woodshed.report.failed";
}

export interface Upload {
  id: string;
  bytes: number;
  created_at: number;
  expires_at: number;
  filename: string;
  purpose: "assistants" | "assistants_output" | "batch" | "batch_output" | "evals" | "fine-tune" | "fine-tune-results" | "user_data" | "vision";
  status: "pending" | "completed" | "cancelled" | "expired";
  file: File | null;
  object: "upload";
}

export interface UploadPart {
  id: string;
  created_at: number;
  upload_id: string;
  object: "upload.part";
}

/** The body of ``POST /v1/uploads``: a file that will come in parts. ``mime_type`` is taken and not looked at. */
export interface UploadWish {
  filename: string;
  purpose: "assistants" | "batch" | "evals" | "fine-tune" | "user_data" | "vision";
  bytes: number;
  mime_type: string;
  expires_after?: ExpiryWish | null;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: PromptDetails;
  completion_tokens_details: CompletionDetails;
}

export interface Verification {
  holds: boolean;
  entries: number;
  head: string;
  broken_at: number | null;
  why: string | null;
  object: "audit.verification";
}

export interface Wandb {
  project: string;
  name: string | null;
  entity: string | null;
  tags: Array<string>;
}

export interface WandbKey {
  api_key: string | null;
  available: boolean;
  object: "wandb_key";
}

/** A key of a user or a service account; runs are made in its name. */
export interface WandbKeyWish {
  api_key: string;
}

export interface WebhookAttempt {
  at: number;
  status_code: number | null;
  milliseconds: number;
  error: string | null;
}

/** The body of ``POST /v1/webhook_endpoints/ID``: what is left out stays as it is. ``enabled`` is ours: false stops the calls, true starts them again, what waits first. */
export interface WebhookChange {
  name?: string;
  url?: string;
  event_types?: Array<"fine_tuning.job.succeeded" | "fine_tuning.job.failed" | "fine_tuning.job.cancelled" | "woodshed.job.remarked" | "woodshed.report.ready" | "woodshed.report.failed">;
  laravel_signature?: boolean;
  enabled?: boolean;
}

export interface WebhookDelivery {
  id: string;
  event_id: string;
  event_type: string;
  job: string;
  status: string;
  created_at: number;
  next_try_at: number | null;
  attempts: Array<WebhookAttempt>;
  object: "webhook_endpoint.delivery";
}

export interface WebhookDeliveryPage {
  data: Array<WebhookDelivery>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface WebhookEndpoint {
  id: string;
  name: string;
  url: string;
  event_types: Array<string>;
  created_at: number;
  updated_at: number;
  signing_secret_hint: string;
  woodshed: WebhookExtras;
  object: "webhook_endpoint";
  signing_secret?: string;
}

export interface WebhookEndpointPage {
  data: Array<WebhookEndpoint>;
  has_more: boolean;
  object: "list";
  first_id: string | null;
  last_id: string | null;
}

export interface WebhookExtras {
  enabled: boolean;
  disabled_reason: string | null;
  laravel_signature: boolean;
  old_secret_until: number | null;
}

export interface WebhookTestResult {
  webhook_endpoint_id: string;
  event_type: string;
  status_code: number;
  success: true;
  object: "webhook_endpoint.test";
}

/** The body of ``POST /v1/webhook_endpoints``; ``laravel_signature`` is ours: one more header, plainer. */
export interface WebhookWish {
  name: string;
  url: string;
  event_types: Array<"fine_tuning.job.succeeded" | "fine_tuning.job.failed" | "fine_tuning.job.cancelled" | "woodshed.job.remarked" | "woodshed.report.ready" | "woodshed.report.failed">;
  laravel_signature?: boolean;
}

/** Settings of direct preference optimisation. */
export interface WishedDpo {
  hyperparameters?: WishedPairing | null;
}

/** OpenAI's three, each a number or ``auto``. */
export interface WishedHyperparameters {
  n_epochs?: number | "auto" | null;
  batch_size?: number | "auto" | null;
  learning_rate_multiplier?: number | "auto" | null;
}

/** A tracker that shall show the job's figures; ``wandb`` is the one there is. */
export interface WishedIntegration {
  type: string;
  wandb?: WishedWandb | null;
}

/** How to teach. ``reinforcement`` is a known name that this version cannot do. */
export interface WishedMethod {
  type: "supervised" | "dpo";
  supervised?: WishedSupervised | null;
  dpo?: WishedDpo | null;
  reinforcement?: Record<string, unknown> | null;
}

/** The same three, and how strongly dpo holds the model to its base. */
export interface WishedPairing {
  n_epochs?: number | "auto" | null;
  batch_size?: number | "auto" | null;
  learning_rate_multiplier?: number | "auto" | null;
  beta?: number | "auto" | null;
}

/** From when to when nothing comes at once, by the recipient's clock; it may go over midnight. */
export interface WishedQuiet {
  begin: string;
  end: string;
}

/** How to divide the examples; ``validation`` and ``test`` are shares of all. Of examples that are nearly the same only the first one is used, unless ``near_duplicates`` is "keep": then they stand in one split together. */
export interface WishedSplit {
  by?: "conversation" | "speaker";
  near_duplicates?: "drop" | "keep";
  validation?: number;
  test?: number;
  seed?: number;
}

/** How to stream. ``include_obfuscation`` pads chunks on OpenAI's side and is taken unread. */
export interface WishedStream {
  include_usage?: boolean | null;
  include_obfuscation?: boolean | null;
}

/** Settings of supervised fine-tuning. */
export interface WishedSupervised {
  hyperparameters?: WishedHyperparameters | null;
}

/** One message; its content is text, or parts of the type text. */
export interface WishedTurn {
  role: "system" | "developer" | "user" | "assistant";
  content: string | Array<{ type: "text"; text: string }>;
  name?: "" | null;
  refusal?: unknown;
  tool_calls?: [] | null;
  tool_call_id?: null;
  function_call?: null;
  audio?: null;
  annotations?: unknown;
}

/** Where a job's run stands in Weights & Biases. Without a ``name`` it is called by the job's id. */
export interface WishedWandb {
  project: string;
  name?: string | null;
  entity?: string | null;
  tags?: Array<string> | null;
}
