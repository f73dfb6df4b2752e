/** The option `--when-slow` of the commands that push. */
import { WhenSlow } from '../../../proto/gen/longline/v1/push.js';

export const WHENS_SLOW = {
  disconnect: WhenSlow.WHEN_SLOW_DISCONNECT,
  drop: WhenSlow.WHEN_SLOW_DROP,
  keep: WhenSlow.WHEN_SLOW_KEEP,
} as const;

export function whenSlowOf({ whenSlow }: { whenSlow?: keyof typeof WHENS_SLOW }): WhenSlow {
  return whenSlow === undefined ? WhenSlow.WHEN_SLOW_UNSPECIFIED : WHENS_SLOW[whenSlow];
}
