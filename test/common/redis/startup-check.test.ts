import { expect, test } from '@jest/globals';
import { refuseVersion } from '../../../common/redis/startup-check.js';

test.each(['7.0.0', '7.0.15', '8.2.1', '10.0.0'])('Redis %s is new enough', (version) => {
  expect(refuseVersion(version)).toBeUndefined();
});

test.each(['6.2.14', '5.0.7', 'unknown'])('Redis %s is refused', (version) => {
  expect(refuseVersion(version)).toBe(
    `Redis 7.0.0 or newer is needed (sharded pub/sub), this is ${version}`,
  );
});
