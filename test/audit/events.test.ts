import t from 'tap'
import { AUDIT_EVENTS } from '../../lib/audit/index.ts'
import { readProjectFile } from '../support/project.ts'

t.test('SEC-11 every event is documented, and no other', async (t) => {
  const section = readProjectFile('docs/OPERATIONS.md').split('\n## The audit log\n')[1]?.split('\n## ')[0] ?? ''
  const table = section.slice(section.indexOf('| event |'), section.indexOf('`checkpoint` and what operators'))
  const named = table
    .split('\n')
    .flatMap((line) => [...(line.split('|')[1] ?? '').matchAll(/`([a-z-]+)`/g)].map((match) => match[1]))
  t.strictSame(named.sort(), Object.keys(AUDIT_EVENTS).sort())
})
