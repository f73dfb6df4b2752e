/** Parts of OpenAPI 3.1 documents, from zod schemas and the error catalogue. */
import { z } from 'zod';
import { catalogue, type ErrorCode } from '../process/errors.js';

type Direction = 'input' | 'output';
type Named = Readonly<Record<Direction, Readonly<Record<string, z.ZodType>>>>;

/** Schemas with a name in `components`; others are inline. Names are types in generated clients. */
export class NamedSchemas {
  /** @param named must have the name `Error` for the body of errors */
  constructor(readonly named: Named) {}

  get components(): object {
    return { ...this.#schemasOf('output'), ...this.#schemasOf('input') };
  }

  /** @throws Error for a schema without a name */
  referenceTo(type: z.ZodType, io: Direction): object {
    const found = Object.entries(this.named[io]).find(([, each]) => each === type);
    if (found === undefined) throw new Error('a body or response of an API has no name');
    return { $ref: pathOf(found[0]) };
  }

  /** OpenAPI 3.1 schemas are JSON Schema 2020-12, so `$schema` is redundant, and so is the id. */
  #schemasOf(io: Direction): Record<string, object> {
    const registry = z.registry<{ id: string }>();
    for (const [id, type] of Object.entries(this.named[io])) registry.add(type, { id });
    const { schemas } = z.toJSONSchema(registry, { io, uri: pathOf });
    return Object.fromEntries(
      Object.entries(schemas).map(([name, { $schema: _, $id: __, ...schema }]) => [name, schema]),
    );
  }
}

/** Responses by status. Several codes can share one. */
export function describeRejections(codes: readonly ErrorCode[]): object {
  const content = contentOf({ $ref: pathOf('Error') });
  const statuses = new Set(codes.map((code) => catalogue[code].http));
  return Object.fromEntries(
    [...statuses].map((status) => {
      const lines = codes
        .filter((code) => catalogue[code].http === status)
        .map((code) => `${code}: ${catalogue[code].when}`);
      return [status, { description: lines.join('\n'), content }];
    }),
  );
}

export function contentOf(schema: object, type = 'application/json'): object {
  return { [type]: { schema } };
}

function pathOf(name: string): string {
  return `#/components/schemas/${name}`;
}
