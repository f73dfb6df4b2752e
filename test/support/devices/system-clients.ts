/**
 * Third-party clients of the system, which are not in package.json. `npm test` installs them where
 * it can. The tests of a missing client are skipped with a line that says so.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from '@jest/globals';
import { packageRoot } from '../../../common/process/package-root.js';

export interface SystemClient {
  readonly name: string;
  /** Command that succeeds if the client can be used. */
  readonly probe: readonly [command: string, ...args: string[]];
}

export const CURL: SystemClient = { name: 'curl', probe: ['curl', '--version'] };

export const HAPROXY: SystemClient = { name: 'HAProxy', probe: ['haproxy', '-v'] };
export const NGINX: SystemClient = { name: 'nginx', probe: ['nginx', '-v'] };

export const CHROMIUM_PATH = '/usr/bin/chromium';
export const CHROMIUM: SystemClient = { name: 'Chromium', probe: [CHROMIUM_PATH, '--version'] };

/** Debian's interpreter: other interpreters on the path do not see Debian's packages. */
export const PYTHON_PATH = '/usr/bin/python3';
export const PYTHON: SystemClient = { name: 'python3', probe: [PYTHON_PATH, '--version'] };

export const PYTHON_GRPC: SystemClient = {
  name: 'python3 with grpcio, protoc and grpc_python_plugin',
  probe: [
    'sh',
    '-c',
    `${PYTHON_PATH} -c 'import grpc, google.protobuf' && command -v protoc && command -v grpc_python_plugin`,
  ],
};

export const GO_INTEROP_PATH = join(packageRoot, 'build/interop/client');
export const GO_INTEROP_CLIENT: SystemClient = {
  name: "grpc-go's interop client",
  probe: ['test', '-x', GO_INTEROP_PATH],
};

export const PYTHON_REQUESTS: SystemClient = {
  name: 'python3 with requests',
  probe: [PYTHON_PATH, '-c', 'import requests'],
};

export const PYTHON_WEBSOCKETS: SystemClient = {
  name: 'python3 with websockets',
  probe: [PYTHON_PATH, '-c', 'import websockets'],
};

export const PYTHON_PAHO: SystemClient = {
  name: 'python3 with paho-mqtt',
  probe: [PYTHON_PATH, '-c', 'import paho.mqtt.client'],
};

export const MOSQUITTO_SUB: SystemClient = {
  name: 'mosquitto_sub',
  probe: ['sh', '-c', 'command -v mosquitto_sub'],
};

export const SLOWHTTPTEST: SystemClient = {
  name: 'slowhttptest',
  probe: ['sh', '-c', 'command -v slowhttptest'],
};

/** `test` if the client is installed; otherwise `test.skip`, and a line that says why. */
export function testWith({ name, probe }: SystemClient): typeof test | typeof test.skip {
  const [command, ...args] = probe;
  if (spawnSync(command, args, { stdio: 'ignore' }).status === 0) return test;
  console.log(`skipped: ${name} is not available on this machine (${probe.join(' ')} failed)`);
  return test.skip;
}
