import { expect, test } from '@jest/globals';
import { outcomeOfError } from '../../../common/redis/execute.js';

test.each([
  ['Connection is closed.', false, 'rejected'],
  ['Connection is closed.', true, 'unknown'],
  ['Command timed out', false, 'unknown'],
  ['Command timed out', true, 'unknown'],
  ["OOM command not allowed when used memory > 'maxmemory'.", true, 'rejected'],
  ['CLUSTERDOWN The cluster is down', true, 'rejected'],
  ['Too many Cluster redirections. Last error: ReplyError: MOVED 1 a:1', true, 'rejected'],
  ['Too many Cluster redirections. Last error: Error: Connection is closed.', true, 'unknown'],
  ['ERR broken script: 0123, on @user_script:1.', true, 'unknown'],
])('%s (sent: %s) means %s', (message, wasSent, type) => {
  expect(outcomeOfError(message, wasSent).type).toBe(type);
});
