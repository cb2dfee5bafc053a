#!/bin/sh
# Gets what the tests of clients in other languages need: npm packages where Node is, PHP where apt-get may install it.
#
# Nothing here is needed for anything else. What cannot be had is said, and its tests are skipped.
set -u
cd "$(dirname "$0")"

say() { printf 'clients: %s\n' "$*" >&2; }

packages() {
    command -v npm >/dev/null || { say "npm is not here; the tests of Node's clients are skipped"; return; }
    want=$(cksum package-lock.json)
    [ "$(cat node_modules/.installed 2>/dev/null)" = "$want" ] && return
    if timeout 300 npm ci --no-audit --no-fund --loglevel=error; then
        printf '%s\n' "$want" >node_modules/.installed
    else
        rm -rf node_modules
        say "npm could not install the packages; the tests of Node's clients are skipped"
    fi
}

php_has() {
    command -v php >/dev/null && php -r '
        foreach (["GuzzleHttp/autoload.php", "Illuminate/Foundation/Application.php"] as $file) {
            stream_resolve_include_path($file) or exit(1);
        }'
}

php_packages() {
    php_has && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && {
        timeout 120 apt-get update -qq
        DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y -qq --no-install-recommends \
            php-cli php-curl php-mbstring php-xml php-guzzlehttp-guzzle php-laravel-framework
    } >/dev/null 2>&1
    php_has || say "PHP with Guzzle and Laravel from Debian is not here; tests of PHP's clients are skipped"
}

packages
php_packages
