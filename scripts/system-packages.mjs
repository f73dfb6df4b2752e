/**
 * Installs packages with the system's package manager where that needs no password: as root,
 * through a `sudo` without a password, or with Homebrew.
 */
import { spawnSync } from 'node:child_process';

/** policy-rc.d stops Debian from starting a service as soon as its package is installed. */
const APT_SCRIPT = `
  export DEBIAN_FRONTEND=noninteractive
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\\nexit 101\\n' >"$policy"
    chmod 755 "$policy"
  fi
  install() { apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "$@"; }
  install "$@" || { apt-get -o DPkg::Lock::Timeout=300 update -q; install "$@"; }
`;

/** In order of preference. Each script gets the packages as arguments. */
const MANAGERS = [
  { name: 'apt-get', script: APT_SCRIPT },
  { name: 'apk', script: 'apk add --no-cache "$@"' },
  { name: 'dnf', script: 'dnf install -y "$@"' },
  { name: 'yum', script: 'yum install -y "$@"' },
  { name: 'brew', script: 'brew install "$@"', asUser: true },
];

/**
 * @param {Record<string, string[]>} packages by package manager; managers without an entry are
 *   skipped
 * @param {(line: string) => void} say receives one line before the installation
 * @returns {string | undefined} why the packages could not be installed
 */
export function installPackages(packages, say) {
  const manager = MANAGERS.find(({ name }) => packages[name] && isCommand(name));
  if (manager === undefined) return 'no supported package manager is installed';
  const names = packages[manager.name];
  const prefix = manager.asUser ? [] : asRoot();
  if (prefix === undefined) {
    return `run as root: ${manager.name} ${manager.name === 'apk' ? 'add' : 'install'} ${names.join(' ')}`;
  }
  say(`installing ${names.join(', ')} (${manager.name})`);
  const [command, ...args] = [...prefix, 'sh', '-c', manager.script, 'sh', ...names];
  const { status, stdout, stderr } = spawnSync(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  });
  return status === 0 ? undefined : `${manager.name} failed:\n${stdout}${stderr}`;
}

/** Prefix that runs a command as root; undefined if that needs a password. */
function asRoot() {
  if (process.getuid?.() === 0) return [];
  return succeeds('sudo', '-n', 'true') ? ['sudo', '-n'] : undefined;
}

export function isCommand(name) {
  return succeeds('sh', '-c', 'command -v "$1"', 'sh', name);
}

export function succeeds(command, ...args) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}
