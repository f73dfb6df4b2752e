/** One pipelined connection per master. */
import type { Endpoint } from './connection.js';
import { type PipelineOptions, RedisPipeline } from './pipeline.js';
import { splitAddress } from './slot-map.js';

export class RedisPipelines {
  readonly #pipelines = new Map<string, RedisPipeline>();
  #isClosed = false;

  /** @param endpoint any node, with the credentials that all nodes share */
  constructor(
    readonly endpoint: Endpoint,
    readonly name: string,
    readonly options: PipelineOptions,
  ) {}

  /** All pipelines, ready or not. */
  all(): Iterable<RedisPipeline> {
    return this.#pipelines.values();
  }

  /** The pipeline to the master at `host:port`; undefined while it cannot send commands. */
  to(address: string | undefined): RedisPipeline | undefined {
    if (address === undefined || this.#isClosed) return undefined;
    let pipeline = this.#pipelines.get(address);
    if (pipeline === undefined) {
      const endpoint = { ...this.endpoint, ...splitAddress(address) };
      pipeline = new RedisPipeline(endpoint, this.name, this.options);
      this.#pipelines.set(address, pipeline);
    }
    return pipeline.isReady ? pipeline : undefined;
  }

  /** Opens a pipeline to each of these masters and closes those to all others. */
  follow(masters: readonly string[]): void {
    for (const [address, pipeline] of this.#pipelines) {
      if (masters.includes(address)) continue;
      pipeline.close();
      this.#pipelines.delete(address);
    }
    for (const address of masters) this.to(address);
  }

  /** No pipeline is opened any more. */
  close(): void {
    this.#isClosed = true;
    this.follow([]);
  }
}
