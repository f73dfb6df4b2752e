/** The gRPC AssignmentService, over which routers watch the assignment. */

import { Metadata } from '@grpc/grpc-js';
import { areSettingDigests } from '../../common/process/agreed-settings.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { toServiceError } from '../../common/process/grpc/calls.js';
import { ORIGIN } from '../../common/wire/position.js';
import type {
  AssignmentServiceServer,
  RouterLoad,
  SlowPush,
} from '../../proto/gen/longline/v1/assignment.js';
import type { Controller } from '../leadership/controller.js';
import type { EdgeProcess } from '../leadership/suspect-edges.js';
import { AssignmentStream, newestOnly } from './assignment-stream.js';
import type { AssignmentUpdates } from './assignment-updates.js';

const ID_LENGTH_MAX = 128;
const ID = /^[A-Za-z0-9._-]{1,128}$/;
const VERDICT = /^[A-Z_]{1,32}$/;
/** Maximum verdicts, and maximum buckets of the histogram, in one report. */
const COUNTS_MAX = 32;
const SLOW_PUSHES_MAX = 20;
/** Maximum steps of a flight record, and maximum length of each of their texts. */
const FLIGHT_STEPS_MAX = 64;
const TEXT_LENGTH_MAX = 256;

export function createAssignmentService(
  controller: Pick<Controller, 'watch' | 'suspects' | 'onClosedPortReported' | 'onRouterLoad'>,
  updates: AssignmentUpdates,
): AssignmentServiceServer {
  return {
    watch(call) {
      // Metadata tells the router that it is connected, even when no newer assignment follows.
      call.sendMetadata(new Metadata());
      const sendSuspects = newestOnly((edges: readonly EdgeProcess[], onSent) => {
        const suspects = { edges: [...edges] };
        call.write({ assignment: undefined, suspects, delta: undefined }, onSent);
      });
      const stopSuspects = controller.suspects.watch(sendSuspects);
      const { have = ORIGIN, acceptsDeltas } = call.request;
      const assignments = new AssignmentStream(controller, updates, {
        have,
        acceptsDeltas,
        write: (update, onSent) => call.write({ ...update, suspects: undefined }, onSent),
      });
      call.on('close', () => {
        stopSuspects();
        assignments.stop();
      });
    },
    reportClosedPort({ request: { edge } }, callback) {
      const rejected = edge && controller.onClosedPortReported(edge);
      if (rejected !== undefined) return callback(toServiceError(rejected));
      callback(null, {});
    },
    reportLoad({ request: { load } }, callback) {
      const rejected = rejectLoad(load) ?? controller.onRouterLoad(load!);
      if (rejected !== undefined) return callback(toServiceError(rejected));
      callback(null, {});
    },
  };
}

function rejectLoad(load: RouterLoad | undefined): Rejection | undefined {
  const isValid =
    load !== undefined &&
    ID.test(load.routerId) &&
    [load.incarnation, load.version, load.commit].every((text) => text.length <= ID_LENGTH_MAX) &&
    areSettingDigests(load.settings) &&
    Math.max(load.verdicts.length, load.latencies.length) <= COUNTS_MAX &&
    load.verdicts.every(({ verdict }) => VERDICT.test(verdict)) &&
    load.latencies.every(({ seconds }) => seconds > 0) &&
    load.slowPushes.length <= SLOW_PUSHES_MAX &&
    load.slowPushes.every(isPlausible);
  return isValid ? undefined : rejection('REQUEST_MALFORMED', 'the load report is implausible');
}

function isPlausible({ clientId, messageId, totalMs, flightRecord }: SlowPush): boolean {
  const { steps = [] } = flightRecord ?? {};
  return (
    Math.max(clientId.length, messageId.length) <= TEXT_LENGTH_MAX &&
    totalMs >= 0 &&
    steps.length <= FLIGHT_STEPS_MAX &&
    steps.every(({ place }) => place.length <= TEXT_LENGTH_MAX)
  );
}
