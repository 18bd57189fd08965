/** Private to `xsknetd`, which has the same version: nothing here keeps its form from one release to the next. */
export { type BindingPlace, requireBinding } from './platform.js'
