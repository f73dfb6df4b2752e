import { expect, test } from '@jest/globals';
import { PresenceWatch } from '../../../router/events/presence/presence-watch.js';

const position = (ms: number) => ({ id: `${ms}-0`, number: ms });
const states = (...names: string[]) => names.map((name) => ({ name, clients: [] }));

function event(type: string, clientId: string, ms: number, group?: string) {
  const fields = new Map(group === undefined ? [] : [['g', group]]);
  return { id: `7-${ms}-0`, streamId: `${ms}-0`, type, clientId, atMs: ms, fields, lost: 0 };
}

const began = (clientId: string, ms: number) => event('client.connected', clientId, ms);
const joined = (member: string, ms: number, group = 'g') =>
  event('group.joined', member, ms, group);
const left = (member: string, ms: number) => event('group.left', member, ms, 'g');

const told = (watch: PresenceWatch, ...events: ReturnType<typeof event>[]) =>
  watch.onEvents(events).events.map(({ type, clientId, atMs }) => `${type} ${clientId} ${atMs}`);

test('passes the events after the state, of the names and of the devices of users', () => {
  const watch = new PresenceWatch('');
  expect(told(watch, began('alice', 1))).toEqual([]);
  watch.onStates(states('alice', 'bob/1'), position(10));
  const events = ['alice', 'alice/1', 'bob/1', 'bob', 'bob/2', 'carol'].flatMap((clientId) => [
    began(clientId, 10),
    began(clientId, 11),
  ]);
  expect(told(watch, ...events)).toEqual([
    'client.connected alice 11',
    'client.connected alice/1 11',
    'client.connected bob/1 11',
  ]);
  expect(told(watch, event('push.confirmed', 'alice', 12), joined('alice', 13))).toEqual([]);
});

test('a member that joins is watched from its own state on, until it leaves', () => {
  const watch = new PresenceWatch('g');
  watch.onStates(states('alice'), position(10));
  const changes = watch.onEvents([
    joined('bob', 11),
    joined('carol', 11, 'other'),
    began('bob', 12),
  ]);
  expect(changes.joined).toEqual(['bob']);
  expect(changes.events.map(({ type }) => type)).toEqual(['group.joined']);
  expect(watch.onJoinedStates(states('bob'), position(13))).toHaveLength(1);
  expect(told(watch, began('bob', 13), began('bob', 14))).toEqual(['client.connected bob 14']);
  expect(told(watch, left('bob', 15), began('bob', 16))).toEqual(['group.left bob 15']);
  expect(watch.nameCount).toBe(1);
});

test('a member that has left before its state was read stays away', () => {
  const watch = new PresenceWatch('g');
  watch.onStates([], position(10));
  expect(told(watch, joined('bob', 11))).toEqual(['group.joined bob 11']);
  expect(told(watch, left('bob', 12))).toEqual(['group.left bob 12']);
  expect(watch.onJoinedStates(states('bob'), position(20))).toEqual([]);
  // It left while its state was read.
  expect(told(watch, joined('carol', 21))).toEqual(['group.joined carol 21']);
  watch.onJoinedStates(states('carol'), position(30));
  expect(told(watch, left('carol', 25))).toEqual(['group.left carol 25']);
  expect(watch.nameCount).toBe(0);
});

test('a change of members that the state contains is none', () => {
  const watch = new PresenceWatch('g');
  watch.onStates(states('alice'), position(10));
  expect(told(watch, left('alice', 8), joined('alice', 9))).toEqual([]);
  expect(watch.nameCount).toBe(1);
});

test('without a state after a loss, nothing is passed until it is read again', () => {
  const watch = new PresenceWatch('');
  watch.onStates(states('alice', 'bob'), position(10));
  watch.forget((name) => name === 'alice');
  expect(told(watch, began('alice', 11), began('bob', 11))).toEqual(['client.connected bob 11']);
  watch.onStates(states('alice'), position(5));
  expect(told(watch, began('alice', 6))).toEqual(['client.connected alice 6']);
});
