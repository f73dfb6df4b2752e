/**
 * Third-party clients that some tests use: a browser, another gRPC implementation, curl. Tests
 * whose client cannot be installed skip and report it.
 */
import { installPackages, isCommand, succeeds } from './system-packages.mjs';

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
];

/** @param {(line: string) => void} say */
export function ensureTestClients(say) {
  const missing = CLIENTS.filter((client) => !client.isInstalled());
  for (const { packages } of missing) installPackages({ 'apt-get': packages }, say);
  const names = missing.filter((client) => !client.isInstalled()).map(({ name }) => name);
  if (names.length > 0) say(`not available, tests that need it will skip: ${names.join(', ')}`);
}
