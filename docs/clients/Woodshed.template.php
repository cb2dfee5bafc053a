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
 * shapes
 */
final class Woodshed
{
    /** Keys that hold an object: an empty array is sent as `{}` there, and as `[]` elsewhere. */
    private const OBJECTS = [/* objects */];

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

    // methods

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
