export function chosen(expression: string): string[]
