/**
 * Real clients that some tests use: a browser, a gRPC implementation that is not ours, curl. Where
 * one cannot be had, the tests that want it skip and say why.
 */
import { installPackages, isCommand, succeeds } from './system-packages.mjs';

const CLIENTS = [
  { name: 'curl', packages: ['curl'], isThere: () => isCommand('curl') },
  { name: 'openssl', packages: ['openssl'], isThere: () => isCommand('openssl') },
  { name: 'HAProxy', packages: ['haproxy'], isThere: () => isCommand('haproxy') },
  { name: 'nginx', packages: ['nginx-light'], isThere: () => isCommand('nginx') },
  { name: 'chromium', packages: ['chromium'], isThere: () => isCommand('chromium') },
  {
    name: 'slowhttptest',
    packages: ['slowhttptest'],
    isThere: () => isCommand('slowhttptest'),
  },
  {
    name: 'python3 with grpcio, and what generates code for it',
    // Not python3-grpc-tools, which Debian has from 2018: it rejects `optional` in proto3.
    packages: ['python3-grpcio', 'protobuf-compiler', 'protobuf-compiler-grpc'],
    // Debian's own interpreter: its packages are invisible to any other on the path.
    isThere: () =>
      succeeds('/usr/bin/python3', '-c', 'import grpc, google.protobuf') &&
      isCommand('protoc') &&
      isCommand('grpc_python_plugin'),
  },
  {
    name: 'python3 with websockets',
    packages: ['python3-websockets'],
    isThere: () => succeeds('/usr/bin/python3', '-c', 'import websockets'),
  },
  {
    name: 'python3 with paho-mqtt',
    packages: ['python3-paho-mqtt'],
    isThere: () => succeeds('/usr/bin/python3', '-c', 'import paho.mqtt.client'),
  },
  {
    // Only the clients: nothing here starts a broker.
    name: 'mosquitto_sub',
    packages: ['mosquitto-clients'],
    isThere: () => isCommand('mosquitto_sub'),
  },
];

/** @param {(line: string) => void} say */
export function ensureTestClients(say) {
  const missing = CLIENTS.filter((client) => !client.isThere());
  for (const { packages } of missing) installPackages({ 'apt-get': packages }, say);
  const names = missing.filter((client) => !client.isThere()).map(({ name }) => name);
  if (names.length > 0) say(`not available, tests that need it will skip: ${names.join(', ')}`);
}
