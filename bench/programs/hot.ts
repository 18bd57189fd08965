// The client that is measured: without any right, it does what it is told to.
import { serve } from '../../__test__/helpers/programs/serve.js'
import { orders } from './orders.js'

serve(orders)
