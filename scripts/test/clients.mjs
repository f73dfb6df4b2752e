/**
 * Third-party clients that some tests use: a browser, other gRPC implementations, curl. Tests
 * whose client cannot be installed skip and report it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installPackages, isCommand, succeeds } from '../system-packages.mjs';

const INTEROP = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'build/interop');

const CLIENTS = [
  { name: 'curl', packages: ['curl'], isInstalled: () => isCommand('curl') },
  { name: 'openssl', packages: ['openssl'], isInstalled: () => isCommand('openssl') },
  { name: 'HAProxy', packages: ['haproxy'], isInstalled: () => isCommand('haproxy') },
  { name: 'nginx', packages: ['nginx-light'], isInstalled: () => isCommand('nginx') },
  { name: 'chromium', packages: ['chromium'], isInstalled: () => isCommand('chromium') },
  {
    name: 'slowhttptest',
    packages: ['slowhttptest'],
    isInstalled: () => isCommand('slowhttptest'),
  },
  {
    name: 'python3 with grpcio and its code generator',
    // Not python3-grpc-tools: Debian's is from 2018 and rejects `optional` in proto3.
    packages: ['python3-grpcio', 'protobuf-compiler', 'protobuf-compiler-grpc'],
    // Debian's interpreter: other interpreters on the path do not see Debian's packages.
    isInstalled: () =>
      succeeds('/usr/bin/python3', '-c', 'import grpc, google.protobuf') &&
      isCommand('protoc') &&
      isCommand('grpc_python_plugin'),
  },
  {
    name: 'python3 with requests',
    packages: ['python3-requests'],
    isInstalled: () => succeeds('/usr/bin/python3', '-c', 'import requests'),
  },
  {
    name: 'python3 with websockets',
    packages: ['python3-websockets'],
    isInstalled: () => succeeds('/usr/bin/python3', '-c', 'import websockets'),
  },
  {
    name: 'python3 with paho-mqtt',
    packages: ['python3-paho-mqtt'],
    isInstalled: () => succeeds('/usr/bin/python3', '-c', 'import paho.mqtt.client'),
  },
  {
    // Only the clients: no test starts a broker.
    name: 'mosquitto_sub',
    packages: ['mosquitto-clients'],
    isInstalled: () => isCommand('mosquitto_sub'),
  },
  {
    name: "grpc-go's interop client",
    install: (say) => {
      if (!isCommand('go')) return;
      say("compiling grpc-go's interop client");
      spawnSync('go', ['install', 'google.golang.org/grpc/interop/client@v1.82.0'], {
        cwd: '/',
        env: { ...process.env, GOBIN: INTEROP, GOTOOLCHAIN: 'local' },
      });
    },
    isInstalled: () => existsSync(join(INTEROP, 'client')),
  },
];

/** @param {(line: string) => void} say */
export function ensureTestClients(say) {
  const missing = CLIENTS.filter((client) => !client.isInstalled());
  for (const { packages, install } of missing) {
    if (install === undefined) installPackages({ 'apt-get': packages }, say);
    else install(say);
  }
  const names = missing.filter((client) => !client.isInstalled()).map(({ name }) => name);
  if (names.length > 0) say(`not available, tests that need it will skip: ${names.join(', ')}`);
}
