/**
 * The interoperability tests of gRPC (doc/interop-test-descriptions.md of its repository), with the
 * client of grpc-go.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import {
  GO_INTEROP_CLIENT,
  GO_INTEROP_PATH,
  testWith,
} from '../../../support/devices/system-clients.js';
import {
  startTestService,
  type TestServer,
  type TestServiceWay,
} from '../../../support/grpc/test-service.js';

const CASES = [
  'empty_unary',
  'large_unary',
  'client_streaming',
  'server_streaming',
  'ping_pong',
  'empty_stream',
  'timeout_on_sleeping_server',
  'cancel_after_begin',
  'cancel_after_first_response',
  'status_code_and_message',
  'special_status_message',
  'unimplemented_method',
  'unimplemented_service',
  'custom_metadata',
];
const WAYS: TestServiceWay[] = ['library', 'direct', 'within'];

const testInterop = testWith(GO_INTEROP_CLIENT);

describe.each(WAYS)('%s', (way) => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startTestService(way);
  });
  afterAll(() => server.stop());

  // No method that is answered directly sends metadata.
  const cases = CASES.filter((name) => way !== 'direct' || name !== 'custom_metadata');
  testInterop.each(cases)('%s', async (name) => {
    const args = [`--server_port=${server.port}`, `--test_case=${name}`];
    const client = promisify(execFile)(GO_INTEROP_PATH, ['--server_host=127.0.0.1', ...args]);
    // It exits with another status if the test fails.
    await expect(client).resolves.toBeDefined();
  });
});
