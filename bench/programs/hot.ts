// The client that is measured, unprivileged: it carries out the orders that it gets.
import { serve } from '../../__test__/helpers/programs/serve.js'
import { orders } from './orders.js'

serve(orders)
