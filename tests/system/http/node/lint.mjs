// Check an OpenAPI document against all rules that Redocly recommends, warnings counting as errors.
import { createConfig, formatProblems, getTotals, lint } from '@redocly/openapi-core'

const config = await createConfig({ extends: ['recommended-strict'] })
const problems = await lint({ ref: process.argv[2], config })
formatProblems(problems, { format: 'stylish', totals: getTotals(problems), version: '', maxProblems: 100 })
process.exitCode = problems.length === 0 ? 0 : 1
