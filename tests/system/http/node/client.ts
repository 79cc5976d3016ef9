// Submit, inspect, list and cancel with the types generated from openapi.yaml; say as JSON what came back.
import createClient, { type FetchResponse } from 'openapi-fetch'

import type { components, paths } from './contract.js'

declare const process: { argv: string[] }

type Job = components['schemas']['Job']
type Problem = components['schemas']['Problem']

const api = createClient<paths>({ baseUrl: process.argv[2] ?? '' })

function answered<T>(answer: { data?: T; error?: Problem }): T {
  if (answer.data === undefined) throw new Error(`${answer.error?.code}: ${answer.error?.detail}`)
  return answer.data
}

const submitted: Job = answered(
  await api.POST('/api/v1/jobs', { body: { kind: 'echo', payload: { hello: 'there' }, tags: ['typed'] } }),
)
const path = { job_id: submitted.id }
const inspected: Job = answered(await api.GET('/api/v1/jobs/{job_id}', { params: { path } }))
const listed = answered(await api.GET('/api/v1/jobs', { params: { query: { tag: 'typed', limit: 10 } } }))
const cancelled: Job = answered(await api.POST('/api/v1/jobs/{job_id}/cancel', { params: { path } }))
const refused = await api.POST('/api/v1/jobs', { body: { kind: 'not a kind' } })

console.log(
  JSON.stringify({
    submitted: submitted.state,
    inspected: inspected.id === submitted.id,
    listed: listed.items.map((job) => job.id === submitted.id),
    cancelled: cancelled.state,
    refused: refused.error?.code,
  }),
)
