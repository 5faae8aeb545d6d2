#!/bin/sh
# Brings the application to {{ id }} in {{ zone }}.
set -eu
install -d -m 0755 /srv/app
printf '%s\n' '{{ branch }}' > /srv/app/branch
