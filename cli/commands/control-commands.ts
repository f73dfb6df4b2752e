/** The commands that query control or perform an operation. */
import type { Command } from 'commander';
import { duration, wholeNumber, withControl, withReason } from './arguments.js';

const SIMPLE_OPERATIONS = {
  pause: 'start no moves until resume; moves in progress complete',
  resume: 'end a pause',
  abort: 'roll back the moves that can be rolled back, and drop the pending ones',
  'confirm-lost-edges': 'after most edges vanished at once: confirm that they are lost',
} as const;

export function addControlCommands(program: Command): void {
  addQueries(program);
  addOperations(program);
}

function addQueries(program: Command): void {
  withControl(program.command('status'))
    .description('show the edges and the state of the cluster')
    .option('--watch', 'refresh until Ctrl-C')
    .action(async (options) => (await import('./status.js')).status(options));

  withControl(program.command('memory'))
    .description('show the memory of the edges by part, and its cost per connection')
    .argument('[edgeId]')
    .action(async (edgeId, options) => (await import('./memory.js')).memory(edgeId, options));

  withControl(program.command('ledger'))
    .description('show what has become of all durable pushes, and whether all counters agree')
    .option('--shards', 'each shard instead of the sum', false)
    .action(async (options) => (await import('./ledger.js')).ledger(options));

  withControl(program.command('explain'))
    .description('show the owner edge of a client, and where it is connected')
    .argument('<name>', 'a clientId, or a user with --user')
    .option('--user', 'all devices of the user of this name', false)
    .action(async (name, options) => {
      const { explain, explainUser } = await import('./clients/explain.js');
      await (options.user ? explainUser : explain)(name, options);
    });

  withControl(program.command('events'))
    .description('show the event log: changes of edges, shards and moves')
    .option('--follow', 'continue with new events until Ctrl-C')
    .option('--after <id>', 'only events after this one', wholeNumber(0, 1e15 - 1), 0)
    .action(async (options) => (await import('./events.js')).events(options));
}

function addOperations(program: Command): void {
  withReason(program.command('rebalance'))
    .description('show a plan that evens out the load, and carry it out')
    .option('--dry-run', 'show the plan only')
    .action(async (options) => (await import('./rebalance.js')).rebalance(options));

  withReason(program.command('drain'))
    .description('move all shards and clients of an edge to other edges')
    .argument('<edgeId>')
    .option('--rate <count>', 'maximum GOAWAYs per second', wholeNumber(1, 1_000_000))
    .option(
      '--deadline <duration>',
      'such as 5m: time until the edge closes the remaining connections',
      duration,
    )
    .option('--force', 'also if no other edge could get its shards')
    .option('--no-wait', 'do not wait until the edge is empty')
    .action(async (edgeId, options) => {
      process.exitCode = await (await import('./drain.js')).drain(edgeId, options);
    });

  withReason(program.command('cordon'))
    .description('exclude an edge from getting more shards; it keeps those it has')
    .argument('<edgeId>')
    .option('--force', 'also if no other edge could get shards')
    .action(async (edgeId, options) => (await import('./operations.js')).cordon(edgeId, options));

  withReason(program.command('undrain'))
    .description('cancel a drain or a cordon')
    .argument('<edgeId>')
    .action(async (edgeId, options) => (await import('./operations.js')).undrain(edgeId, options));

  for (const [operation, description] of Object.entries(SIMPLE_OPERATIONS)) {
    withReason(program.command(operation))
      .description(description)
      .action(async (options) =>
        (await import('./operations.js')).perform(
          operation as keyof typeof SIMPLE_OPERATIONS,
          options,
        ),
      );
  }
}
