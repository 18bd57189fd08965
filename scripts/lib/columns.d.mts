export function tooLong(file: string, text: string): { line: number; columns: number }[]
export function tooLongLines(): string[]
