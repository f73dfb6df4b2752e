/** A push to a group is one for each member, all with the same number. */
import { expect, test } from '@jest/globals';
import { check } from '../../../drill/history/check.js';
import { attempt, connection, history, push, receipt } from './history-builder.js';

const members = ['alice', 'bob'];
const pushes = members.map((clientId) => push(1, [attempt('STORED')], { clientId }));

function findingsFor(...receivers: readonly string[]) {
  const connections = receivers.map((clientId, i) =>
    connection([receipt(1, `${5 + i}-0`)], { clientId }),
  );
  return check(history({ pushes, connections })).map((one) => [one.check, one.clientId]);
}

test('each member receives it, under an id of its own', () => {
  expect(findingsFor('alice', 'bob')).toEqual([]);
});

test('it is lost for a member that has not received it', () => {
  expect(findingsFor('alice')).toEqual([['lost', 'bob']]);
});

test('it is misdelivered to a client that is no member', () => {
  expect(findingsFor('alice', 'bob', 'carol')).toEqual([['misdelivered', 'carol']]);
});
