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

  // methods

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

// shapes
