// A client that does what a test tells it to.
import { orders } from './orders.js'
import { serve } from './serve.js'

serve(orders)
