import { expect, test } from '@jest/globals';
import { readLogLine } from '../../../cli/local/log-line.js';

test.each([
  ['{"level":30,"msg":"listening"}', 'info: listening', false],
  ['{"level":40,"msg":"slow"}', 'warn: slow', true],
  ['{"level":50,"msg":"lost","err":{"message":"ECONNRESET"}}', 'error: lost: ECONNRESET', true],
  ['{"level":40,"msg":"away","reason":"no route"}', 'warn: away: no route', true],
  ['TypeError: x is not a function', 'TypeError: x is not a function', true],
  ['null', 'null', true],
])('reads %s', (line, text, isAlarming) => {
  expect(readLogLine(line)).toEqual({ text, isAlarming });
});
