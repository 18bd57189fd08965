/** What the demo shows, and how much of it went wrong. */
export class Report {
  wrong = 0

  heading(text: string): void {
    console.log(`\n${text}`)
  }

  line(text: string): void {
    console.log(`  ${text}`)
  }

  tell(good: boolean, text: string): void {
    console.log(`  ${good ? 'ok' : 'NO'} ${text}`)
    if (!good) this.wrong++
  }
}

/** 1234567 as 1,234,567. */
export const thousands = (number: number) => Math.round(number).toLocaleString('en')
