import type { Run } from './compare.ts'
import { cellsOf, type Machine, machineText, titleOf } from './report.ts'

const PANEL_WIDTH = 460
const LABEL_WIDTH = 170
const VALUE_WIDTH = 70
const BAR_HEIGHT = 18
const BAR_STEP = 24
const PANEL_HEAD = 30
const GAP = 24
const MARGIN = 20
const HEAD = 54
const OURS_COLOUR = '#1f6feb'
const PEER_COLOUR = '#9aa4b2'

/** Requests a second as bars, a panel for each body and number in flight; one scale in each panel. */
export function chartOf(runs: readonly Run[], on: Machine, note: string): string {
  const panels = cellsOf(runs)
  const columns = Math.min(2, Math.max(1, panels.length))
  const bars = Math.max(1, ...panels.map(({ cells }) => cells.length))
  const panelHeight = PANEL_HEAD + bars * BAR_STEP + GAP
  const width = MARGIN * 2 + columns * PANEL_WIDTH + (columns - 1) * GAP
  const height = HEAD + Math.ceil(panels.length / columns) * panelHeight + MARGIN
  const parts = panels.map(({ body, concurrency, cells }, index) => {
    const x = MARGIN + (index % columns) * (PANEL_WIDTH + GAP)
    const y = HEAD + Math.floor(index / columns) * panelHeight
    return `<g transform="translate(${x} ${y})">${panelOf(`${body} bytes, ${concurrency} in flight`, cells)}</g>`
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif">`,
    '<rect width="100%" height="100%" fill="#ffffff"/>',
    text(MARGIN, 24, 'Requests a second, each answered and checked', 16, 'font-weight="600"'),
    text(MARGIN, 42, `${machineText(on)}; ${note}`, 11, 'fill="#57606a"'),
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

function panelOf(title: string, cells: readonly Run[]): string {
  const most = Math.max(1, ...cells.map(({ rps }) => rps))
  const scale = (PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH) / most
  const bars = cells.map(({ system, rps }, index) => {
    const y = PANEL_HEAD + index * BAR_STEP
    const length = Math.max(1, rps * scale)
    const colour = system.startsWith('ours') ? OURS_COLOUR : PEER_COLOUR
    return [
      text(LABEL_WIDTH - 8, y + 13, titleOf(system), 12, 'text-anchor="end"'),
      `<rect x="${LABEL_WIDTH}" y="${y}" width="${length.toFixed(1)}" height="${BAR_HEIGHT}" fill="${colour}"/>`,
      text(LABEL_WIDTH + length + 6, y + 13, Math.round(rps).toLocaleString('en'), 12, ''),
    ].join('')
  })
  return [text(0, 16, title, 13, 'font-weight="600"'), ...bars].join('')
}

function text(x: number, y: number, content: string, size: number, attributes: string): string {
  return `<text x="${x.toFixed(1)}" y="${y}" font-size="${size}" ${attributes}>${escaped(content)}</text>`
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
