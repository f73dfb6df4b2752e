import { fuzzParsers } from './parsers.js';

console.log(await fuzzParsers(1, 5));
