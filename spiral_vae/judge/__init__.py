"""The judge: any method on any problem, in pairs with all that is known of the others."""
