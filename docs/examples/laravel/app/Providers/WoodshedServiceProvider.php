<?php

namespace App\Providers;

use Illuminate\Support\ServiceProvider;
use Woodshed\Woodshed;

/** The one place that knows where Woodshed is and with which key. */
final class WoodshedServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->app->singleton(Woodshed::class, fn () => new Woodshed(config('woodshed.url'), config('woodshed.key')));
    }
}
