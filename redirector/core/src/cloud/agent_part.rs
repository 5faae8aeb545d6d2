//! The part of the user data that makes a new server a member: settings, key, unit.
//!
//! A shell part, since two cloud-config parts with the same list would need a merge type to live together. It must never put the
//! key where others than the agent's user can read it, nor let the shell expand what the profile says.

const KNOWN: &str = "zone='{{ zone }}'\n";
const ASKED: &str = "zone=$(cloud-init query v1.availability_zone) || zone=''\n";

const HEAD: &str = r"#!/bin/sh
# Makes this server {{ id }} a member of the farm {{ farm }}. Its key opens nothing but its own heartbeats.
set -eu
umask 077
folder='{{ agent_folder }}'
";

const FILES: &str = r#"mkdir -p "$folder"
printf '%s\n' '{{ key }}' > "$folder/member.key.new"
{
    [ -z "$zone" ] || printf 'zone = "%s"\n' "$zone"
    cat <<'END_OF_SETTINGS'
farm = "{{ farm }}"
id = "{{ id }}"
key_file = "{{ agent_folder }}/member.key"
front = {{ fronts }}
port = {{ port }}
load = "{{ load }}"
period = "{{ period }}"
state_file = "/var/lib/farm-agent/state.json"
drain_file = "/run/farm-agent/drain"
"#;

const START: &str = r#"END_OF_SETTINGS
} > "$folder/farm-agent.toml.new"
mv "$folder/member.key.new" "$folder/member.key"
mv "$folder/farm-agent.toml.new" "$folder/farm-agent.toml"
chown -R '{{ agent_user }}:' "$folder"
systemctl enable '{{ agent_unit }}'
systemctl restart '{{ agent_unit }}'
"#;

/// A server without its host name serves; one without its agent does not.
const HOST: &str = "hostnamectl set-hostname '{{ host }}' || echo 'the host name was not set' >&2\n";

/// The part's text, a template. The zone is asked of cloud-init where it is not known before the launch.
pub(super) fn text(zone_known: bool, has_host: bool, more: Option<&str>) -> String {
    let more = more.map(|more| format!("{}\n", more.trim_end())).unwrap_or_default();
    [HEAD, if zone_known { KNOWN } else { ASKED }, if has_host { HOST } else { "" }, FILES, &more, START].concat()
}
