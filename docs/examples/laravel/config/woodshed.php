<?php

return [
    'url' => env('WOODSHED_URL', 'http://127.0.0.1:8080'),
    'key' => env('WOODSHED_KEY'),
];
