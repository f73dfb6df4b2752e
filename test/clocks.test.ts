/**
 * Readers of the wall clock. It differs from machine to machine and may be set at any time, so it
 * must not measure a duration, and nothing of another machine may be compared with it. A new file
 * in this list needs a reason of this kind; everything else uses `performance.now()`.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path/posix';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';

const ROOMS = ['canary', 'cli', 'client', 'common', 'control', 'drill', 'edge', 'proto', 'router'];

/** Readers of the wall clock, with the reason. */
const READERS: Readonly<Record<string, string>> = {
  'cli/commands/format.ts': 'prints a time to a person, from a duration',
  'cli/doctor/readings.ts': 'its difference from the clock of Redis is what is measured',
  'cli/commands/moves-state.ts': 'an older control sends the end of a freeze as a Unix time only',
  'common/auth/authenticator.ts': 'the expiry of tickets, that of the token they stand for',
  'common/auth/certificates.ts': 'certificates expire at a Unix time',
  'common/auth/jwt.ts': 'exp, nbf and iat of tokens are Unix times, with a tolerated difference',
  'common/process/grpc/calls.ts': 'the gRPC library takes and returns deadlines as Unix times',
  'common/process/time/clock.ts': 'the one place that reads it',
  'common/process/tracing/otlp-tracer.ts': 'spans have Unix times',
  'common/redis/requirements-watch.ts':
    'its difference from the clock of Redis is what is measured',
  'control/leadership/controller.ts': 'times of events, for people to read',
  'control/main.ts': 'the age of an event that another control may have recorded',
  'control/operator/http/sessions.ts': 'the end of a session, which other controls accept, too',
  'control/operator/operations.ts': 'the end of a freeze, and ids of events, which are times',
  'control/operator/queries.ts': 'the time of a report, for people to read',
  'drill/clock/node-clock.ts': 'replaces the wall clock of a role',
  'drill/faults/kinds/redis-faults.ts': 'ids that a fault takes away are times of this machine',
  'drill/mutants/mutants.ts': 'a bug that the drill must catch',
  'edge/session/clients.ts': 'expiry of tokens; the start of a connection, for people to read',
  'edge/session/token-expiry.ts': 'expiry of tokens',
  'router/events/webhooks/webhook.ts': 'the receiver checks the age of a request by its own clock',
};

const WALL_CLOCK = /\bDate\.now\b|\bnew Date\(\)|\btimeOrigin\b|\/time\/clock\.js'/;
const ROOT = fileURLToPath(new URL('..', import.meta.url));

test('only the listed files read the wall clock', () => {
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '--', ...ROOMS], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const readers = files
    .split('\n')
    .filter((file) => /\.(ts|mjs)$/.test(file) && existsSync(join(ROOT, file)))
    .filter((file) => WALL_CLOCK.test(readFileSync(join(ROOT, file), 'utf8')));
  expect(readers.toSorted()).toEqual(Object.keys(READERS).toSorted());
});

test('scripts of Redis take the time from Redis, never as an argument', () => {
  const scripts = execFileSync('git', ['grep', '-l', 'new Script(', '--', 'common', 'edge'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  for (const file of scripts.trim().split('\n')) {
    expect([file, WALL_CLOCK.test(readFileSync(join(ROOT, file), 'utf8'))]).toEqual([file, false]);
  }
});
