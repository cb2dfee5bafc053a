<?php
// The Laravel example in an application around it: what its pages answered, as JSON on standard output.
declare(strict_types=1);

use App\Providers\WoodshedServiceProvider;
use Illuminate\Contracts\Http\Kernel;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Exceptions\Handler;
use Illuminate\Foundation\Providers\FoundationServiceProvider;
use Illuminate\Http\Request;
use Illuminate\Http\UploadedFile;
use Illuminate\Support\Facades\Facade;
use Illuminate\Support\Facades\Route;

error_reporting(E_ALL & ~E_DEPRECATED);  // Laravel 8 on PHP 8.2
require 'GuzzleHttp/autoload.php';
require 'Illuminate/autoload.php';
require getenv('WOODSHED_CLIENT');
$example = getenv('LARAVEL_EXAMPLE');
require "$example/app/Providers/WoodshedServiceProvider.php";
require "$example/app/Http/Controllers/TrainingController.php";

$app = new Application(getenv('LARAVEL_HOME'));
Facade::setFacadeApplication($app);
$app->instance('config', new Illuminate\Config\Repository([
    'app' => ['env' => 'testing', 'debug' => true, 'locale' => 'en', 'fallback_locale' => 'en', 'url' => 'http://localhost'],
    'view' => ['paths' => ["$example/resources/views"], 'compiled' => getenv('LARAVEL_HOME')],
    'session' => ['driver' => 'array', 'lifetime' => 10, 'cookie' => 's', 'lottery' => [0, 1], 'path' => '/', 'domain' => null],
    'cache' => ['default' => 'array', 'stores' => ['array' => ['driver' => 'array']]],
    'woodshed' => require "$example/config/woodshed.php",
]));
$app->singleton(Illuminate\Contracts\Debug\ExceptionHandler::class, Handler::class);
foreach ([
    Illuminate\Filesystem\FilesystemServiceProvider::class,
    Illuminate\Cache\CacheServiceProvider::class,
    Illuminate\Session\SessionServiceProvider::class,
    Illuminate\Translation\TranslationServiceProvider::class,
    Illuminate\Validation\ValidationServiceProvider::class,
    Illuminate\View\ViewServiceProvider::class,
    FoundationServiceProvider::class,
    WoodshedServiceProvider::class,
] as $provider) {
    $app->register($provider);
}
$app->boot();
$app->instance('request', Request::create('/jobs'));
$app['session']->start();
require "$example/routes/web.php";
$app['router']->getRoutes()->refreshNameLookups();

function visit(Request $request): array
{
    global $app;
    $request->setLaravelSession($app['session.store']);
    $app->instance('request', $request);
    $answer = $app['router']->dispatch($request);
    ob_start(fn ($written) => '');
    $said = '';
    ob_start(function ($written) use (&$said) {
        $said .= $written;
        return '';
    }, 1);
    $answer->sendContent();
    ob_end_clean();
    ob_end_clean();
    return ['status' => $answer->getStatusCode(), 'location' => $answer->headers->get('Location'), 'body' => $said];
}

$upload = new UploadedFile(getenv('TRAINING_FILE'), 'chats.jsonl', 'application/jsonl', null, true);
$seen['started'] = visit(Request::create('/jobs', 'POST', ['suffix' => 'coach'], [], ['file' => $upload]));
$path = parse_url($seen['started']['location'], PHP_URL_PATH);
$seen['live'] = visit(Request::create("$path/live"));
$seen['listed'] = visit(Request::create('/jobs'));
$seen['job'] = visit(Request::create($path));
$seen['adapter'] = visit(Request::create("$path/adapter"));
echo json_encode($seen, JSON_THROW_ON_ERROR);
