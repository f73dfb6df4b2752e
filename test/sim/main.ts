import { chaosRound } from './chaos.js';

const rounds = Number(process.argv[2] ?? 20);
const t = performance.now();
let bad = 0;
const ratios: number[] = [];
for (let seed = 1; seed <= rounds; seed++) {
  const { violations, maxOverReachable } = chaosRound(seed);
  ratios.push(maxOverReachable);
  if (violations.length > 0) {
    bad++;
    if (bad < 8) console.log(seed, violations.length, violations.slice(0, 3));
  }
}
ratios.sort((a, b) => a - b);
console.log(
  bad,
  (performance.now() - t) / rounds,
  ratios[rounds >> 1],
  ratios[Math.floor(rounds * 0.95)],
  ratios.at(-1),
);
