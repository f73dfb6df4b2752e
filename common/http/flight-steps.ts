/** Flight records in JSON: their schema, and their conversion from protobuf. */
import { z } from 'zod';
import { FlightEvent, type FlightRecord } from '../../proto/gen/longline/v1/push.js';

const EVENTS = {
  RECEIVED: 'the router had received the request',
  STORED: 'Redis had stored the push',
  PUBLISHED: 'Redis had sent it to the edges',
  ACCEPTED: 'the router had the answer of Redis',
  HEARD: 'an edge had read the push',
  WRITTEN: 'that edge had handed it to the socket of the device',
  NOT_WRITTEN: 'that edge had not written it',
  REPLIED: 'the router had the reply of that edge',
  CONFIRMED: 'Redis had the confirmation of the device',
  ANSWERED: 'the router had the verdict',
} as const;

type EventName = keyof typeof EVENTS;

export const flightStep = z.object({
  event: z.enum(Object.keys(EVENTS) as EventName[]).describe(
    Object.entries(EVENTS)
      .map(([name, meaning]) => `${name}: ${meaning}.`)
      .join(' '),
  ),
  place: z.string().describe('The router, `host:port` of a master of Redis, or the id of an edge.'),
  afterUs: z.int().min(0).describe('Microseconds since the router had received the request.'),
  errorUs: z
    .int()
    .min(0)
    .describe(
      'The true time is at most this much earlier or later. 0: it was read from the clock of the ' +
        'router.',
    ),
});

export type FlightStep = z.infer<typeof flightStep>;

export const flightRecord = z
  .array(flightStep)
  .optional()
  .describe('The steps of the push in their order, by the clock of the router. Absent: none.');

/** The member of a response that has the record; empty without one. */
export function flightRecordOf(record: FlightRecord | undefined): { flightRecord?: FlightStep[] } {
  if (record === undefined) return {};
  const flightRecord = record.steps.map(({ event, ...step }) => {
    const name = FlightEvent[event]?.replace('FLIGHT_EVENT_', '');
    return { event: name as EventName, ...step };
  });
  return { flightRecord };
}
