import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FlightEvent, type FlightStep } from '../../../../proto/gen/longline/v1/push.js';
import { type FlightFacts, flightRecordOf } from '../../../../router/push/flight/flight-record.js';

/**
 * Drift is at most 200 millionths, so a reading of this age adds no more than a ms to its error.
 */
const AGE_MS_MAX = 5_000;

/** A true course of events, in ms of the router's monotonic clock, and how wrong the clocks are. */
const flights = fc
  .record({
    receivedMs: fc.double({ min: 100_000, max: 900_000, noNaN: true }),
    toRedisMs: fc.double({ min: 0, max: 50, noNaN: true }),
    fromRedisMs: fc.double({ min: 0, max: 50, noNaN: true }),
    toEdgeMs: fc.double({ min: 0, max: 50, noNaN: true }),
    tookMs: fc.double({ min: 0, max: 50, noNaN: true }),
    fromEdgeMs: fc.double({ min: 0, max: 50, noNaN: true }),
    /** Unix time of Redis minus the monotonic clock. */
    epochMs: fc.integer({ min: 1_700_000_000_000, max: 1_800_000_000_000 }),
    redisErrorMs: fc.double({ min: 0, max: 5, noNaN: true }),
    redisWrongBy: fc.double({ min: -1, max: 1, noNaN: true }),
    edgeErrorMs: fc.double({ min: 0, max: 5, noNaN: true }),
    edgeWrongBy: fc.double({ min: -1, max: 1, noNaN: true }),
    readAgoMs: fc.double({ min: 0, max: AGE_MS_MAX, noNaN: true }),
    knowsClock: fc.boolean(),
    edgeKnowsClock: fc.boolean(),
    isDurable: fc.boolean(),
  })
  .map((of) => {
    const publishedMs = of.receivedMs + of.toRedisMs;
    const acceptedMs = publishedMs + of.fromRedisMs;
    const heardMs = publishedMs + of.toEdgeMs;
    const repliedMs = heardMs + of.tookMs + of.fromEdgeMs;
    const readMs = of.receivedMs - of.readAgoMs;
    const heardRedisMs = heardMs + of.epochMs + of.edgeErrorMs * of.edgeWrongBy;
    const facts: FlightFacts = {
      routerId: 'router-1',
      master: 'redis:6379',
      redisClock: of.knowsClock
        ? {
            serverMs: readMs + of.epochMs + of.redisErrorMs * of.redisWrongBy,
            atMs: readMs,
            errorMs: of.redisErrorMs,
          }
        : undefined,
      receivedMs: of.receivedMs,
      isDurable: of.isDurable,
      isPublished: true,
      storedRedisMs: of.isDurable ? Math.floor(publishedMs + of.epochMs) : undefined,
      acceptedMs,
      replies: [
        {
          edgeId: 'edge-1',
          isWritten: true,
          heard: of.edgeKnowsClock ? { ms: heardRedisMs, errorMs: of.edgeErrorMs } : undefined,
          tookMs: of.tookMs,
          repliedMs,
        },
      ],
      confirmed: undefined,
      answeredMs: Math.max(acceptedMs, repliedMs),
    };
    const truth = {
      [FlightEvent.FLIGHT_EVENT_RECEIVED]: of.receivedMs,
      [FlightEvent.FLIGHT_EVENT_STORED]: publishedMs,
      [FlightEvent.FLIGHT_EVENT_PUBLISHED]: publishedMs,
      [FlightEvent.FLIGHT_EVENT_ACCEPTED]: acceptedMs,
      [FlightEvent.FLIGHT_EVENT_HEARD]: heardMs,
      [FlightEvent.FLIGHT_EVENT_WRITTEN]: heardMs + of.tookMs,
      [FlightEvent.FLIGHT_EVENT_REPLIED]: repliedMs,
      [FlightEvent.FLIGHT_EVENT_ANSWERED]: facts.answeredMs,
    } as Readonly<Record<FlightEvent, number>>;
    return { facts, truth };
  });

/** Error of the numbers, which are whole microseconds, and of doubles near the Unix time. */
const ROUNDING_US = 3;

const namesOf = (steps: readonly FlightStep[]) =>
  steps.map(({ event }) => FlightEvent[event].replace('FLIGHT_EVENT_', ''));

function isTrue({ facts, truth }: { facts: FlightFacts; truth: Record<number, number> }) {
  const { steps } = flightRecordOf(facts);
  for (const { event, afterUs, errorUs } of steps) {
    const trueUs = (truth[event]! - facts.receivedMs) * 1_000;
    expect(Math.abs(afterUs - trueUs)).toBeLessThanOrEqual(errorUs + ROUNDING_US);
  }
  return steps;
}

test('the true time of each step is within its error, with and without known clocks', () => {
  fc.assert(
    fc.property(flights, (flight) => {
      const steps = isTrue(flight);
      const middle = steps.map(({ afterUs }) => afterUs);
      expect(middle).toEqual(middle.toSorted((a, b) => a - b));
      const stored = flight.facts.isDurable ? ['STORED'] : [];
      expect(namesOf(steps).toSorted()).toEqual(
        [
          ...['RECEIVED', ...stored, 'PUBLISHED', 'ACCEPTED', 'HEARD', 'WRITTEN', 'REPLIED'],
          'ANSWERED',
        ].toSorted(),
      );
    }),
  );
});

test('a clock that was set makes no step wrong, only less exact', () => {
  fc.assert(
    fc.property(flights, fc.constantFrom(-1, 1), ({ facts, truth }, sign) => {
      const { redisClock } = facts;
      if (redisClock === undefined) return;
      const serverMs = redisClock.serverMs + sign * 3_600_000;
      isTrue({ facts: { ...facts, redisClock: { ...redisClock, serverMs } }, truth });
    }),
  );
});

test('a known clock narrows what is certain', () => {
  const facts: FlightFacts = {
    routerId: 'router-1',
    master: 'redis:6379',
    redisClock: { serverMs: 1_000_000, atMs: 1_000, errorMs: 0.2 },
    receivedMs: 1_000,
    isDurable: true,
    isPublished: true,
    storedRedisMs: 1_000_010,
    acceptedMs: 1_100,
    replies: [],
    confirmed: { fromMs: 1_100, toMs: 1_200 },
    answeredMs: 1_200,
  };
  const place = 'redis:6379';
  const { steps } = flightRecordOf(facts);
  expect(namesOf(steps)).toEqual([
    ...['RECEIVED', 'STORED', 'PUBLISHED', 'ACCEPTED', 'CONFIRMED', 'ANSWERED'],
  ]);
  expect(steps[1]).toMatchObject({ place, afterUs: 10_500 });
  expect(steps[1]!.errorUs).toBeGreaterThanOrEqual(700);
  expect(steps[1]!.errorUs).toBeLessThan(710);
  expect(steps[4]).toMatchObject({ place, afterUs: 150_000, errorUs: 50_000 });
  const unknown = flightRecordOf({ ...facts, redisClock: undefined }).steps[1];
  expect(unknown).toMatchObject({ afterUs: 50_000, errorUs: 50_000 });
});

test('a push of which nothing came back, and a duplicate, have no steps elsewhere', () => {
  const facts: FlightFacts = {
    routerId: 'router-1',
    master: '',
    redisClock: undefined,
    receivedMs: 0,
    isDurable: true,
    isPublished: true,
    storedRedisMs: undefined,
    acceptedMs: undefined,
    replies: [],
    confirmed: undefined,
    answeredMs: 2_000,
  };
  expect(namesOf(flightRecordOf(facts).steps)).toEqual(['RECEIVED', 'ANSWERED']);
  const duplicate = { ...facts, isPublished: false, acceptedMs: 5 };
  expect(namesOf(flightRecordOf(duplicate).steps)).toEqual(['RECEIVED', 'ACCEPTED', 'ANSWERED']);
});
