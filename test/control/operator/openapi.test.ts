/** The OpenAPI document of the operator API. */
import { expect, test } from '@jest/globals';
import { clientResponse } from '../../../control/operator/cluster-responses.js';
import { describeApi } from '../../../control/operator/http/openapi.js';
import { routes } from '../../../control/operator/routes.js';

const body = JSON.parse(JSON.stringify(describeApi(routes)));

test('describes every path in an OpenAPI document whose references resolve', () => {
  expect(body.openapi).toBe('3.1.0');
  expect(Object.keys(body.paths)).toEqual([
    '/v1/cluster',
    '/v1/members',
    '/v1/history',
    '/v1/slow-pushes',
    '/v1/ledger',
    '/v1/ledger/shards',
    '/v1/canaries',
    '/v1/canary-report',
    '/v1/edges',
    '/v1/edges/{id}',
    '/v1/edges/{id}/memory',
    '/v1/edges/{id}/drain',
    '/v1/edges/{id}/cordon',
    '/v1/edges/{id}/undrain',
    '/v1/shards',
    '/v1/shard-map',
    '/v1/clients',
    '/v1/slow',
    '/v1/clients/{clientId}',
    '/v1/users/{user}',
    '/v1/inboxes/{clientId}',
    '/v1/payload',
    '/v1/push',
    '/v1/client-events/{clientId}',
    '/v1/client-pushes/{clientId}',
    '/v1/disconnects',
    '/v1/disconnect',
    '/v1/cancel-disconnect',
    '/v1/blocks',
    '/v1/block',
    '/v1/unblock',
    '/v1/revocations',
    '/v1/revoke',
    '/v1/unrevoke',
    '/v1/moves',
    '/v1/plan',
    '/v1/rebalance',
    '/v1/pause',
    '/v1/resume',
    '/v1/abort',
    '/v1/confirm-lost-edges',
    '/v1/events',
    '/v1/settings',
  ]);
  const { get: operation } = body.paths['/v1/clients/{clientId}'];
  expect(operation.parameters[0]).toMatchObject({ name: 'clientId', in: 'path', required: true });
  expect(Object.keys(operation.responses)).toEqual(['200', '400', '401', '503']);
  const { schema } = operation.responses['200'].content['application/json'];
  expect(schema).toEqual({ $ref: '#/components/schemas/Client' });
  const { schemas } = body.components;
  expect(schemas.Client.required).toEqual(Object.keys(clientResponse.shape));
  const references = JSON.stringify(body).matchAll(/"\$ref":"#\/components\/schemas\/([^"]*)"/g);
  const referenced = new Set(Array.from(references, ([, name]) => name));
  // Each name is used, and each reference resolves.
  expect(referenced).toEqual(new Set(Object.keys(schemas)));
});

test('describes each operation under a name of its own', () => {
  const operations = Object.values<Record<string, { operationId: string; summary: string }>>(
    body.paths,
  ).flatMap((path) => Object.values(path));
  const ids = operations.map(({ operationId }) => operationId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { operationId, summary } of operations) {
    expect(operationId).toMatch(/^[a-z][A-Za-z]+$/);
    expect(summary).toMatch(/\.$/);
  }
  expect(body.servers).toHaveLength(1);
});
